"""Ringach, Shapley & Hawken 2002 (J Neurosci 22:5639): orientation tuning.

Preferred orientations are counted as by De Valois, Yund & Hepler 1982 (Vision Research 22:531).
"""

import numpy as np

from vonenet.physiology import tuning
from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Curve, Population

SOURCE = "Ringach, Shapley & Hawken 2002, J Neurosci 22:5639"
# De Valois et al. 1982a count orientations from here to 180 degrees further
FIRST_ORIENTATION_DEG = -22.5


def orientation(prepared: Preparation) -> Population:
    """Measure orientation properties at each unit's best frequency and size.

    The curves are rates averaged over phases, spontaneous activity included, as published.

    Properties: `preferred_orientation` in [-22.5, 157.5) degrees, `bandwidth` (half, at 0.707),
    `circular_variance`, `orth_pref_ratio`, `orientation_selective` (1 where there is a bandwidth),
    `cv_bandwidth_ratio`, `opr_cv_difference`.
    """
    angles = prepared.gratings.axis("orientation_deg")
    means = tuning.f0(prepared.grating_rates)
    curves = tuning.best_curve(means, along=3)
    preferred = tuning.preferred_orientation(angles, curves)
    bandwidth = tuning.half_bandwidth(angles, curves)
    variance = tuning.circular_variance(angles, curves)
    ratio = tuning.orthogonal_preferred_ratio(angles, curves)
    properties = {
        "preferred_orientation": (preferred - FIRST_ORIENTATION_DEG) % 180 + FIRST_ORIENTATION_DEG,
        "bandwidth": bandwidth,
        "circular_variance": variance,
        "orth_pref_ratio": ratio,
        "orientation_selective": np.isfinite(bandwidth),
        "cv_bandwidth_ratio": variance / bandwidth,
        "opr_cv_difference": ratio - variance,
    }
    return prepared.population(
        "orientation",
        SOURCE,
        prepared.responsive(means),
        properties,
        curves={"orientation": Curve("orientation (degrees)", angles, curves)},
    )

"""Albrecht & Hamilton 1982 (J Neurophysiol 48:217): contrast response."""

from functools import partial

import numpy as np

from vonenet.physiology.fits import naka_rushton_fit
from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Curve, Population
from vonenet.physiology.stimuli import crossed, evenly_spaced
from vonenet.physiology.tuning import best_curve, f0

SOURCE = "Albrecht & Hamilton 1982, J Neurophysiol 48:217"
CONTRASTS = (0.03, 0.06, 0.125, 0.25, 0.35, 0.5, 0.7, 1.0)
ORIENTATIONS_DEG = evenly_spaced(6, 180.0)
PHASES_DEG = evenly_spaced(4, 360.0)
DIAMETER_DEG = 4.0


def contrast(prepared: Preparation) -> Population:
    """Fit F0 over contrast, the blank being contrast 0, at each unit's best grating.

    Properties: `c50` (above 1: the unit does not saturate), `naka_rushton_exponent`.
    """
    design = crossed(
        partial(prepared.grating, diameter_deg=DIAMETER_DEG),
        orientation_deg=ORIENTATIONS_DEG,
        frequency_cpd=prepared.frequencies(),
        contrast=CONTRASTS,
        phase_deg=PHASES_DEG,
    )
    means = f0(prepared.rates(design, "contrasts"))
    curves = np.column_stack([prepared.spontaneous, best_curve(means, along=-1)])
    contrasts = np.array([0.0, *CONTRASTS])
    responsive = prepared.responsive(means)
    fit = naka_rushton_fit(
        contrasts,
        np.where(responsive[:, None], curves, np.nan),
        progress=prepared.bar("fits of contrast"),
    )
    return prepared.population(
        "contrast",
        SOURCE,
        responsive,
        {"c50": fit.c50, "naka_rushton_exponent": fit.exponent},
        r2=fit.r2,
        curves={"contrast": Curve("contrast", contrasts, curves, fit.curve(contrasts))},
    )

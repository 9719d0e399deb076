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
        partial(prepared.grating, diameter=DIAMETER_DEG),
        orientation=ORIENTATIONS_DEG,
        frequency=prepared.frequencies(),
        contrast=CONTRASTS,
        phase=PHASES_DEG,
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
    properties = {"c50": fit.c50, "naka_rushton_exponent": fit.exponent}
    return prepared.population(
        "contrast",
        SOURCE,
        responsive,
        properties,
        quality=dict.fromkeys(properties, fit.r2),
        good=fit.good,
        curves={"contrast": Curve("contrast", contrasts, curves, fit.curve(contrasts))},
    )

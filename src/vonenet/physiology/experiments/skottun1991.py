"""Skottun et al. 1991 (Vision Research 31:1079): simple and complex cells by their modulation.

The distribution of F1/F0 is that of Ringach et al. 2002. Phase invariance is what the energy model
of complex cells predicts (Adelson & Bergen 1985): 1 for a perfect complex cell, 0 for a simple one.
"""

import numpy as np

from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Array, Curve, Mask, Population
from vonenet.physiology.tuning import f0, largest, modulation_ratio

MODULATION_SOURCE = "Ringach, Shapley & Hawken 2002, J Neurosci 22:5639"
PHASE_SOURCE = "Adelson & Bergen 1985, J Opt Soc Am A 2:284"


def modulation(prepared: Preparation) -> Population:
    """Measure the modulation of the response to the best drifting grating.

    Properties: `modulation_ratio` (F1/F0), `max_dc` (largest F0, spikes per second).
    """
    phases, curves = best_phase_curves(prepared)
    means = f0(prepared.grating_rates)
    return prepared.population(
        "modulation",
        MODULATION_SOURCE,
        prepared.responsive(means),
        {"modulation_ratio": modulation_ratio(curves), "max_dc": largest(means)},
        curves={"phase": Curve("phase (degrees)", phases, curves)},
    )


def phase(prepared: Preparation) -> Population:
    """Measure how much of a unit's best response is left at its worst phase.

    Property: `phase_invariance`, smallest over largest rate above the spontaneous one.
    """
    phases, curves = best_phase_curves(prepared)
    above = np.maximum(curves - prepared.spontaneous[:, None], 0)
    best = above.max(axis=1)
    invariance = above.min(axis=1) / np.where(best > 0, best, np.nan)
    return prepared.population(
        "phase",
        PHASE_SOURCE,
        prepared.responsive(f0(prepared.grating_rates)),
        {"phase_invariance": invariance},
        curves={"phase": Curve("phase (degrees)", phases, curves)},
    )


def is_simple(prepared: Preparation) -> Mask:
    """Say whether F1/F0 at the best grating is above 1, (units,)."""
    simple: Mask = modulation_ratio(best_phase_curves(prepared)[1]) > 1
    return simple


def best_phase_curves(prepared: Preparation) -> tuple[Array, Array]:
    """Return phases and (units, phases) rates to the grating with the largest mean over them."""
    rates = prepared.grating_rates
    by_grating = rates.reshape(len(rates), -1, rates.shape[-1])
    best = f0(by_grating).argmax(axis=1)
    return prepared.gratings.axis("phase_deg"), by_grating[np.arange(len(rates)), best]

"""Phase invariance: how much of a unit's best response is left at its worst phase.

1 for a perfect complex cell (Hubel & Wiesel 1962; energy model: Adelson & Bergen 1985), 0 for a
simple one.
"""

import numpy as np

from vonenet.physiology.design import f0
from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Array, Curve, Mask, Population
from vonenet.physiology.tuning import modulation_ratio

NAME = "phase"
SOURCE = "Adelson & Bergen 1985, J Opt Soc Am A 2:284"


def run(prepared: Preparation) -> Population:
    """Property: `phase_invariance`, smallest over largest rate above the spontaneous one."""
    phases = prepared.gratings.axis("phase")
    curves = best_phase_curves(prepared)
    above = np.maximum(curves - prepared.spontaneous[:, None], 0)
    best = above.max(axis=1)
    invariance = above.min(axis=1) / np.where(best > 0, best, np.nan)
    return prepared.population(
        NAME,
        SOURCE,
        prepared.responsive(f0(prepared.grating_rates)),
        {"phase_invariance": invariance},
        curves={"phase": Curve("phase (degrees)", phases, curves)},
    )


def is_simple(prepared: Preparation) -> Mask:
    """(units,) whether F1/F0 at the best grating is above 1 (Skottun et al. 1991)."""
    phases = prepared.gratings.axis("phase")
    simple: Mask = modulation_ratio(phases, best_phase_curves(prepared)) > 1
    return simple


def best_phase_curves(prepared: Preparation) -> Array:
    """(units, phases) rates to the grating with each unit's largest mean over phases."""
    rates = prepared.grating_rates
    by_grating = rates.reshape(len(rates), -1, rates.shape[-1])
    best = f0(by_grating).argmax(axis=1)
    curves: Array = by_grating[np.arange(len(rates)), best]
    return curves

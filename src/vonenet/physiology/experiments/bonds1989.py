"""Bonds 1989 (Visual Neuroscience 2:41): cross-orientation suppression by an orthogonal mask.

Also Morrone, Burr & Maffei 1982 (Proc R Soc Lond B 216:335). Both gratings drift; responses are
averaged over all pairs of phases.
"""

from functools import partial

import numpy as np

from vonenet.physiology.preparation import ORIENTATIONS_DEG, Preparation
from vonenet.physiology.recording import Array, Population
from vonenet.physiology.stimuli import Plaid, crossed, evenly_spaced
from vonenet.physiology.tuning import f0

SOURCE = "Bonds 1989, Visual Neuroscience 2:41"
CONTRAST = 0.5  # of each grating
PHASES_DEG = evenly_spaced(4, 360.0)
DIAMETER_DEG = 4.0


def cross_orientation(prepared: Preparation) -> Population:
    """Measure how far an orthogonal grating suppresses the response to the best one.

    Property: `cross_orientation_suppression`, 1 - (plaid / grating alone), both above the
    spontaneous rate: 0 where the mask changes nothing, 1 where it silences the unit, below 0 where
    it excites.
    """
    grating = partial(prepared.grating, diameter=DIAMETER_DEG, contrast=CONTRAST)

    def plaid(orientation: float, frequency: float, phase: float, mask_phase: float) -> Plaid:
        return Plaid(
            first=grating(orientation, frequency, phase=phase),
            second=grating(orientation + 90, frequency, phase=mask_phase),
        )

    alone = crossed(
        grating,
        orientation=ORIENTATIONS_DEG,
        frequency=prepared.frequencies(),
        phase=PHASES_DEG,
    )
    half = ORIENTATIONS_DEG[: len(ORIENTATIONS_DEG) // 2]  # a plaid serves both of its orientations
    masked = crossed(
        plaid,
        orientation=half,
        frequency=prepared.frequencies(),
        phase=PHASES_DEG,
        mask_phase=PHASES_DEG,
    )
    rates_alone = f0(prepared.rates(alone, "gratings alone"))
    rates_masked = f0(f0(prepared.rates(masked, "plaids")))
    rates_masked = np.concatenate([rates_masked, rates_masked], axis=1)
    units = np.arange(len(rates_alone))
    best = rates_alone.reshape(len(units), -1).argmax(axis=1)
    single, both = (
        rates.reshape(len(units), -1)[units, best] - prepared.spontaneous
        for rates in (rates_alone, rates_masked)
    )
    suppression: Array = 1 - both / np.where(single > 0, single, np.nan)
    return prepared.population(
        "cross_orientation",
        SOURCE,
        prepared.responsive(rates_alone),
        {"cross_orientation_suppression": suppression},
    )

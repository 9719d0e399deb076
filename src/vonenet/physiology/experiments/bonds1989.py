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
    grating = partial(prepared.grating, diameter_deg=DIAMETER_DEG, contrast=CONTRAST)
    frequencies = prepared.frequencies()

    def plaid(mask_phase_deg: float, **first: float) -> Plaid:
        orthogonal = first["orientation_deg"] + 90
        mask = first | {"orientation_deg": orthogonal, "phase_deg": mask_phase_deg}
        return Plaid(first=grating(**first), second=grating(**mask))

    alone = crossed(
        grating,
        orientation_deg=ORIENTATIONS_DEG,
        frequency_cpd=frequencies,
        phase_deg=PHASES_DEG,
    )
    masked = crossed(
        plaid,
        orientation_deg=ORIENTATIONS_DEG[: len(ORIENTATIONS_DEG) // 2],
        frequency_cpd=frequencies,
        phase_deg=PHASES_DEG,
        mask_phase_deg=PHASES_DEG,
    )
    rates_alone = f0(prepared.rates(alone, "gratings alone"))
    rates_masked = f0(f0(prepared.rates(masked, "plaids")))
    # A plaid serves both of its orientations
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

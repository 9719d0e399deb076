"""Simple or complex: the modulation of the response to the best drifting grating.

Skottun et al. 1991 (Vision Research 31:1079) for F1/F0; Ringach et al. 2002 for the distribution.
"""

from vonenet.physiology import tuning
from vonenet.physiology.design import f0, largest
from vonenet.physiology.experiments.phase import best_phase_curves
from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Curve, Population

NAME = "modulation"
SOURCE = "Ringach, Shapley & Hawken 2002, J Neurosci 22:5639"


def run(prepared: Preparation) -> Population:
    """Properties: `modulation_ratio` (F1/F0), `max_dc` (largest F0, spikes per second)."""
    phases = prepared.gratings.axis("phase")
    means = f0(prepared.grating_rates)
    curves = best_phase_curves(prepared)
    properties = {
        "modulation_ratio": tuning.modulation_ratio(phases, curves),
        "max_dc": largest(means),
    }
    return prepared.population(
        NAME,
        SOURCE,
        prepared.responsive(means),
        properties,
        curves={"phase": Curve("phase (degrees)", phases, curves)},
    )

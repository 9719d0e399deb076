"""Stands in for a subject: units that are formulas of what is shown, so that all is known."""

import dataclasses
import math

import numpy as np

from vonenet.physiology.stimuli import Blank, Canvas, Grating, Plaid


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """A separable unit; widths are standard deviations.

    Attributes:
        suppression: Of the response, by a surround beyond `size_deg`.
        masking: By an orthogonal grating.
    """

    orientation_deg: float = 40.0
    orientation_width_deg: float = 20.0
    frequency_cpd: float = 2.0
    octaves: float = 0.7
    x_deg: float = 0.0
    y_deg: float = 0.0
    field_deg: float = 0.5
    size_deg: float = 0.6
    suppression: float = 0.0
    c50: float = 0.3
    exponent: float = 2.0
    simple: bool = True
    masking: float = 0.0
    gain: float = 1.0
    spontaneous: float = 0.0

    def response(self, stimulus):
        if isinstance(stimulus, Blank):
            return self.spontaneous
        if isinstance(stimulus, Plaid):
            return self.spontaneous + (1 - self.masking) * max(
                map(self.driven, (stimulus.first, stimulus.second))
            )
        return self.spontaneous + self.driven(stimulus)

    def driven(self, grating: Grating):
        off = (grating.orientation_deg - self.orientation_deg + 90) % 180 - 90
        octaves = math.log2(grating.frequency_cpd / self.frequency_cpd)
        distance = math.hypot(grating.x_deg - self.x_deg, grating.y_deg - self.y_deg)
        power = grating.contrast**self.exponent
        center = math.erf(grating.diameter_deg / self.size_deg) ** 2
        surround = math.erf(grating.diameter_deg / (4 * self.size_deg)) ** 2
        phase = max(0.0, math.cos(math.radians(grating.phase_deg))) if self.simple else 1.0
        return (
            self.gain
            * math.exp(-0.5 * (off / self.orientation_width_deg) ** 2)
            * math.exp(-0.5 * (octaves / self.octaves) ** 2)
            * math.exp(-0.5 * (distance / self.field_deg) ** 2)
            * power
            / (power + self.c50**self.exponent)
            * center
            / (1 + self.suppression * surround)
            * phase
        )


class PlantedSubject:
    """What experiments use of a `Subject`."""

    layer_name = "planted"
    is_stochastic = False
    has_mean_response = True
    uses_mean_response = True
    trials = 1

    def __init__(self, units, canvas=None):
        self.of_units = units
        self.canvas = canvas or Canvas(degrees=8, pixels=224)

    def __len__(self):
        return len(self.of_units)

    def mean_response(self, stimuli, *, before_noise=None, progress=None):
        rows = [[unit.response(stimulus) for unit in self.of_units] for stimulus in stimuli]
        return np.array(rows, dtype=np.float32)

    def respond(self, stimuli, *, trials=None, progress=None):
        return self.mean_response(stimuli)[None]

    def spikes(self, responses):
        return None

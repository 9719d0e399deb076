"""What is known of recorded units: receptive fields, and each experiment's findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Curve:
    """Tuning curves of all units.

    Attributes:
        axis: What `x` is, with its unit.
        x: (n,), or (units, n) where every unit has its own.
        rates: (units, n).
        fitted: The same from a fit, NaN where there is none; None where nothing is fitted.
    """

    axis: str
    x: Array
    rates: Array
    fitted: Array | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """One experiment's findings.

    Every array has one entry for each unit of the subject, in its order, recorded or not.

    Attributes:
        experiment: Its name.
        source: The paper that it follows.
        responsive: (units,) which of them the experiment is about: receptive field at the stimuli
            and a response to them.
        properties: By name, (units,); NaN for other units, and where the property is undefined.
        counts: Units `recorded`, of these `in_field` (receptive field at the stimuli), of these
            `responsive`, of these `poor_fits`.
        among: Units that a property is about, where it is not about all, (units,).
        quality: Share of variance that a fit explains, by property, (units,); NaN without a fit.
        curves: By name.
    """

    experiment: str
    source: str
    responsive: Mask
    properties: Mapping[str, Array]
    counts: Mapping[str, int]
    among: Mapping[str, Mask] = field(default_factory=dict)
    quality: Mapping[str, Array] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def values(self, name: str) -> Array:
        """A property of the units that it is about, NaN where it is undefined, for scores."""
        about = self.responsive & self.among.get(name, self.responsive)
        return self.properties[name][about]


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """Where units respond.

    Attributes:
        x_deg: (n,) positions of the map's columns, rightwards.
        y_deg: (n,) positions of its rows, upwards, in ascending order.
        maps: (units, n, n), rows y and columns x: largest response above the blank to any patch
            there, 0 or more, in the model's own unit.
        centers_deg: (units, 2), x and y of the centroid; NaN for units that no patch excites.
        diameters_deg: (units,) four standard deviations of the field about its centroid.
    """

    x_deg: Array
    y_deg: Array
    maps: Array
    centers_deg: Array
    diameters_deg: Array


@dataclass(frozen=True, eq=False)
class Drawn:
    """What units were built with, to be compared with what is measured back from them.

    Attributes:
        orientation_deg: (units,) of the bars that a unit's filter prefers, in [0, 180).
        frequency_cpd: (units,) of its carrier, cycles per degree.
        whole: (units,) whether its kernel holds the envelope out to one standard deviation.
        is_complex: (units,) whether it is a complex cell.
        noise_slope: of the noise's variance over the mean response; NaN without such noise.
        noise_offset: the variance at a mean response of 0; NaN without such noise.
    """

    orientation_deg: Array
    frequency_cpd: Array
    whole: Mask
    is_complex: Mask
    noise_slope: float = float("nan")
    noise_offset: float = float("nan")

    def beside(self, measured_deg: Array) -> Array:
        """Measured orientations, (units,), each put beside the drawn one.

        An angle just past 180 is near one just above 0.
        """
        off: Array = (measured_deg - self.orientation_deg + 90) % 180 - 90
        return self.orientation_deg + off

    def rectified(self, response: Array) -> tuple[Array, Array]:
        """Mean and variance, over trials, of a response plus noise that is set to 0 below 0.

        The moments of a rectified normal variable.

        Args:
            response: Before noise, any shape, 0 or more.
        """
        deviation: Array = np.sqrt(self.noise_slope * response + self.noise_offset)
        density = deviation * np.exp(-((response / deviation) ** 2) / 2) / np.sqrt(2 * np.pi)
        above = ndtr(response / deviation)
        mean: Array = response * above + density
        variance: Array = (response**2 + deviation**2) * above + response * density - mean**2
        return mean, variance

"""What an experiment finds out about the recorded units: properties, fits, curves and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vonenet.physiology.design import Array, Mask


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

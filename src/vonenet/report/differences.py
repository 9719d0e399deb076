"""Accuracies with their intervals, means of them, and differences between two models.

An interval of a combination is recovered from the intervals of its parts (MOVER: Zou & Donner 2008,
Stat Med 27:1693). For the difference of two single rows, whose intervals are Wilson's, that is
Newcombe's hybrid score interval (Newcombe 1998, Stat Med 17:873, method 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % confidence interval, in shares of 1.

    Attributes:
        value: an accuracy, 0 to 1, or a difference of two, -1 to 1.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval excludes 0, else 0."""
        return (self.low > 0) - (self.high < 0)


def mean_estimate(parts: Sequence[Estimate]) -> Estimate:
    """The mean of one model's accuracies under several conditions.

    The conditions were measured on the same images, so their errors go together, how closely no
    row tells. The delta method for the closest case, a correlation of 1, averages the half-widths:
    no correlation gives the mean a wider interval.
    """
    if len(parts) == 1:
        return parts[0]
    return Estimate(
        fmean([part.value for part in parts]),
        fmean([part.low for part in parts]),
        fmean([part.high for part in parts]),
    )


def difference(model: Estimate, base: Estimate) -> Estimate:
    """How much more accurate one model is than another, measured independently.

    Models that saw the same images tend to err on the same ones; the interval does not use it, so
    it is rather too wide than too narrow.
    """
    value = model.value - base.value
    down = hypot(model.value - model.low, base.high - base.value)
    up = hypot(model.high - model.value, base.value - base.low)
    return Estimate(value, value - down, value + up)

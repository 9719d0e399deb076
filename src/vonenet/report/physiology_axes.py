"""Axes of the charts of recorded units: linear or logarithmic, with ticks and a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from vonenet.report.svg import (
    Scale,
    element,
    joined,
    line,
    log_scale,
    log_ticks,
    round_ticks,
    spaced,
    text,
)

Place = Callable[[float], float]
DIGIT_PX = 6.6  # width of a character of a tick's label
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Axis:
    """What stands along one side of a chart.

    Attributes:
        name: what the numbers are, with their unit.
        low: at its beginning.
        high: at its end, above `low`.
        ticks: numbers that are written, within.
        logarithmic: whether equal steps are equal factors.
    """

    name: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    @classmethod
    def linear(cls, name: str, values: npt.ArrayLike, *, most: int = 5) -> Axis:
        """From 0 or below to at or above the largest value; 0 to 1 for none at all."""
        known = _finite(values)
        low, high = min(0.0, *known, 0.0), max(0.0, *known, 0.0)
        ticks = round_ticks(low, high, most, finest=-9) if high > low else [0.0, 1.0]
        return cls(name, ticks[0], ticks[-1], ticks)

    @classmethod
    def log(cls, name: str, values: npt.ArrayLike, *, most: int = 5) -> Axis:
        """From the lowest to the highest value above 0; 0.1 to 10 for none at all."""
        known = [value for value in _finite(values) if value > 0]
        low, high = (min(known), max(known)) if known else (0.1, 10.0)
        if low == high:
            low, high = low / 2, high * 2
        ticks = [tick for tick in log_ticks(low, high, most + 2) if low <= tick <= high]
        return cls(name, low, high, ticks or [low, high], logarithmic=True)

    @classmethod
    def between(
        cls, name: str, low: float, high: float, *, log: bool = False, most: int = 7
    ) -> Axis:
        """From end to end exactly, with round ticks between."""
        ticks = log_ticks(low, high, most) if log else round_ticks(low, high, most, finest=-9)
        slack = 1e-9 * (high - low)
        shown = [tick for tick in ticks if low - slack <= tick <= high + slack]
        return cls(name, low, high, shown, log)

    def place(self, start: float, end: float) -> Place:
        """From numbers to pixels, from `start` to `end`."""
        if not self.logarithmic:
            return Scale(self.low, self.high, start, end)
        return log_scale(self.low, self.high, start, end)


@dataclass(frozen=True)
class Box:
    """Where the chart proper is in its picture, pixels."""

    left: float
    right: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """Between left and right."""
        return (self.left + self.right) / 2


def across(axis: Axis, box: Box) -> Markup:
    """The axis beneath a chart: ticks, the labels that have room, the name."""
    place = axis.place(box.left, box.right)
    positions = [(place(tick), label(tick)) for tick in axis.ticks]
    written = spaced(positions, lambda words: DIGIT_PX * len(words))
    ticks = [line(x, box.bottom, x, box.bottom + 4, class_="tick") for x, _ in positions]
    figures = [
        text(x, box.bottom + 13, words) for i, (x, words) in enumerate(positions) if i in written
    ]
    name = text(box.middle, box.bottom + 29, axis.name, class_="soft")
    base = line(box.left, box.bottom, box.right, box.bottom, class_="tick")
    return joined([base, *ticks, element("g", joined([*figures, name]), text_anchor="middle")])


def upward(axis: Axis, box: Box) -> Markup:
    """The axis left of a chart: lines, labels, and its name above."""
    place = axis.place(box.bottom, box.top)
    lines = [line(box.left, place(t), box.right, place(t), class_="grid") for t in axis.ticks]
    figures = [text(box.left - 5, place(t), label(t), text_anchor="end") for t in axis.ticks]
    return joined([*lines, *figures, text(0, box.top - 13, axis.name, class_="soft")])


def label(number: float) -> str:
    """A tick's number."""
    rounded = float(f"{number:.6g}")
    return f"{rounded:g}".replace("-", MINUS).replace(f"e{MINUS}0", f"e{MINUS}")


def _finite(values: npt.ArrayLike) -> list[float]:
    array = np.asarray(values, np.float64).ravel()
    found: list[float] = array[np.isfinite(array)].tolist()
    return found

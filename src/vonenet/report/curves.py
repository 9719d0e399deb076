"""Charts against the epochs of training runs: loss, accuracy, learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite

from markupsafe import Markup

from vonenet.report.svg import (
    STYLES,
    Scale,
    drawing,
    element,
    joined,
    line,
    log_scale,
    log_ticks,
    marker,
    round_ticks,
    spaced,
    stroke,
    text,
)

WIDTH, HEIGHT = 350, 270  # as charts of accuracy
TOP, BOTTOM, RIGHT = 26, 222, 334
DIGIT_PX, GAP_PX = 7.7, 8  # most that a character of a label takes; from label to axis
MOST_TICKS, MOST_LOG_TICKS = 7, 10
FINEST = -9  # ticks are multiples of this power of ten
MARKED = 12  # up to so many epochs each have a mark, of more only FEW
FEW = 6


@dataclass(frozen=True)
class Curve:
    """One run's line.

    Attributes:
        label: the run's.
        style: which colour, marker and dashes.
        points: (epoch, value), ascending; what is not finite breaks the line.
        thin: points of a second line, without marks.
    """

    label: str
    style: int
    points: Sequence[tuple[int, float]]
    thin: Sequence[tuple[int, float]] = ()

    @property
    def drawn(self) -> list[tuple[int, float]]:
        """All points that have a place."""
        return [point for point in (*self.points, *self.thin) if isfinite(point[1])]


@dataclass(frozen=True)
class Axis:
    """The axis of the values.

    Attributes:
        name: what they are.
        ticks: from end to end.
        logarithmic: whether equal steps are equal factors.
        say: a value in words.
    """

    name: str
    ticks: Sequence[float]
    logarithmic: bool
    say: Callable[[float], str]

    @classmethod
    def linear(
        cls, name: str, curves: Sequence[Curve], say: Callable[[float], str], finest: int = FINEST
    ) -> Axis:
        """From 0, unless the curves stay in the upper half."""
        values = _values(curves)
        low, high = min(values), max(values)
        epochs = {epoch for curve in curves for epoch, _ in curve.drawn}
        begin = low if 2 * low > high and epochs != {max(epochs)} else min(0.0, low)
        return cls(name, round_ticks(begin, high, MOST_TICKS, finest), False, say)

    @classmethod
    def log(cls, name: str, curves: Sequence[Curve], say: Callable[[float], str]) -> Axis:
        """In equal factors; all values are above 0."""
        values = _values(curves)
        ticks = log_ticks(min(values), max(values), MOST_LOG_TICKS)
        return cls(f"{name} (logarithmic axis)", ticks, True, say)

    def scale(self) -> Callable[[float], float]:
        """From values to pixels."""
        if not self.logarithmic:
            return Scale(self.ticks[0], self.ticks[-1], BOTTOM, TOP)
        return log_scale(self.ticks[0], self.ticks[-1], BOTTOM, TOP)


def factor_spanned(curves: Sequence[Curve]) -> float:
    """The highest value over the lowest; 0 if one is not above 0."""
    values = _values(curves)
    return max(values) / min(values) if min(values) > 0 else 0.0


def epoch_chart(axis: Axis, curves: Sequence[Curve]) -> Markup:
    """Values against epochs.

    Args:
        axis: made for these curves.
        curves: at least one has a finite point.
    """
    labels = [f"{tick:g}".replace("e-0", "e-") for tick in axis.ticks]
    left = DIGIT_PX * max(map(len, labels)) + GAP_PX
    height = axis.scale()
    grid = [line(left, height(t), RIGHT, height(t), class_="grid") for t in axis.ticks]
    figures = [
        text(left - GAP_PX, height(tick), label, text_anchor="end")
        for tick, label in zip(axis.ticks, labels, strict=True)
    ]
    epochs = [epoch for curve in curves for epoch, _ in curve.drawn]
    ends = min(epochs), max(epochs)
    across = _across(*ends, left + GAP_PX)
    name = text(0, 8, axis.name, class_="soft")
    lines = [_curve(curve, axis, across, height) for curve in curves]
    content = joined([*grid, *figures, name, _epoch_axis(*ends, across), *lines])
    return drawing(WIDTH, HEIGHT, f"{axis.name} against epochs", content)


def _values(curves: Sequence[Curve]) -> list[float]:
    return [value for curve in curves for _, value in curve.drawn]


def _across(first: int, last: int, start: float) -> Scale:
    """From epochs to pixels; a single epoch stands in the middle."""
    if first == last:
        return Scale(first - 1, last + 1, start, RIGHT)
    return Scale(first, last, start, RIGHT)


def _epoch_axis(first: int, last: int, across: Scale) -> Markup:
    """Labels at the first epoch and at round ones."""
    shown = [first, *(int(t) for t in round_ticks(0, last, MOST_TICKS) if first < t <= last)]
    positions = [(across(epoch), f"{epoch}") for epoch in shown]
    written = spaced(positions, lambda label: DIGIT_PX * len(label))
    ticks = [line(x, BOTTOM, x, BOTTOM + 5, class_="tick") for x, _ in positions]
    labels = [text(x, BOTTOM + 15, label) for i, (x, label) in enumerate(positions) if i in written]
    name = text((across.start + across.end) / 2, BOTTOM + 34, "epoch")
    return joined([*ticks, element("g", joined([*labels, name]), text_anchor="middle")])


def _curve(curve: Curve, axis: Axis, across: Scale, height: Callable[[float], float]) -> Markup:
    """The thin line beneath, the line, and marks with their values for whoever hovers."""
    kind = f"s{curve.style % STYLES}"
    parts = []
    if thin := _path(curve.thin, across, height):
        parts.append(element("path", element("title", curve.label), d=thin, class_=f"lead {kind}"))
    if path := _path(curve.points, across, height):
        parts.append(stroke(curve.style, path))
    for epoch, value in _marked([point for point in curve.points if isfinite(point[1])]):
        said = f"{curve.label}, epoch {epoch}: {axis.say(value)}"
        parts.append(marker(curve.style, across(epoch), height(value), title=said))
    return joined(parts)


def _path(
    points: Sequence[tuple[int, float]], across: Scale, height: Callable[[float], float]
) -> str:
    """Lines through neighbours that are finite."""
    pieces = []
    for finite, group in groupby(points, lambda point: isfinite(point[1])):
        spots = [f"{across(epoch):.1f} {height(value):.1f}" for epoch, value in group if finite]
        pieces += [f"M{'L'.join(spots)}"] if spots[1:] else []
    return "".join(pieces)


def _marked(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """All of a few points, some of many, the first and the last among them."""
    if len(points) <= MARKED:
        return list(points)
    places = [round(n * (len(points) - 1) / (FEW - 1)) for n in range(FEW)]
    return [points[place] for place in places]

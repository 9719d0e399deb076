"""The benchmark as a picture: bars of time and memory, case by case."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vonenet.benchmarks.measure import Spread
from vonenet.benchmarks.record import TIME, Measurement, Record
from vonenet.benchmarks.tasks import BASE, OURS, PUBLISHED
from vonenet.benchmarks.words import gigabytes, seconds_in_words

FLOOR = "floor"
# Okabe & Ito's palette, told apart by the colour-blind and in grey.
COLORS = {PUBLISHED: "#E69F00", OURS: "#0072B2", BASE: "#7F7F7F", FLOOR: "#D0D0D0"}
LABELS = {
    PUBLISHED: "published formula",
    OURS: "this package",
    BASE: "torchvision",
    FLOOR: "floor for ours",
}
WIDTH_IN, LINE_IN, DPI = 8.0, 0.27, 200  # shown 800 pixels wide or half of it
TITLE_LINES, GAP_LINES = 1.15, 0.55
TEXT_PT, TITLE_PT = 12.5, 14
LEFT, RIGHT = 0.235, 0.86  # the bars' share of the width, between names and numbers


@dataclass(frozen=True)
class Bar:
    """A bar's name, its length with quartiles, and what stands at its end."""

    name: str
    length: Spread
    words: str


@dataclass(frozen=True)
class Group:
    """The bars of one case, on a scale of their own."""

    title: str
    remark: str
    bars: list[Bar]


def draw(record: Record, path: Path) -> None:
    """Draw the cases with goals, and their companions of the same size, as a PNG."""
    groups = groups_of(record)
    lines = sum(len(group.bars) + TITLE_LINES + GAP_LINES for group in groups) + 1
    figure = Figure(figsize=(WIDTH_IN, LINE_IN * (lines + 0.4)), layout="constrained")
    axes = figure.add_subplot()
    line = 0.0
    for group in groups:
        line = _draw_group(axes, group, line) + GAP_LINES
    axes.text(0, line + 0.5, _caption(record), fontsize=TEXT_PT - 1.5, color="#444444", va="center")
    axes.set(xlim=(0, 1.0), ylim=(line + 1, -0.2))
    axes.set_axis_off()
    figure.savefig(path, dpi=DPI)


def groups_of(record: Record) -> list[Group]:
    """What is drawn: times of every case of the main size, then memory of its training steps."""
    shown = main_size(record)
    times = [_times(record, each) for each in shown if each.seconds]
    memory = [_memory(each) for each in shown if "training" in each.task]
    return times + memory


def main_size(record: Record) -> list[Measurement]:
    """The cases with a floor, of the batch and image size that the goals are set for."""
    networks = [each for each in record.measurements if each.floor]
    sizes = [(each.batch, each.image_px) for each in networks if each.goals]
    return [each for each in networks if (each.batch, each.image_px) in sizes[:1]]


def _times(record: Record, measurement: Measurement) -> Group:
    spreads = {name: measurement.spread(name) for name in LABELS}
    floor = record.floor_seconds(measurement)
    spreads[FLOOR] = Spread.of([sum(floor)]) if floor else None
    bars = [
        Bar(name, spread, seconds_in_words(spread.median))
        for name, spread in spreads.items()
        if spread
    ]
    faster = measurement.ratio(TIME, PUBLISHED, OURS)
    slower = measurement.ratio(TIME, OURS, BASE)
    assert faster is not None
    remark = (
        f"{slower.median:.2f} times torchvision's time"
        if slower
        else f"{faster.median:.1f} times as fast as published"
    )
    return Group(measurement.task, remark, bars)


def _memory(measurement: Measurement) -> Group:
    peaks = {name: peak for name, peak in measurement.peak_bytes.items() if name in LABELS}
    return Group(
        f"{measurement.task}: memory",
        f"{peaks[OURS] / peaks[PUBLISHED]:.2f} of published",
        [Bar(name, Spread.of([peak]), gigabytes(peak)) for name, peak in peaks.items()],
    )


def _caption(record: Record) -> str:
    size = main_size(record)[0]
    return (
        f"{size.batch} images of {size.image_px} px. Medians, lines from quartile to quartile; "
        "every group on its own scale."
    )


def _draw_group(axes: Axes, group: Group, line: float) -> float:
    """Title and bars from a line on; returns the line after them."""
    axes.text(0, line + 0.5, group.title, fontsize=TITLE_PT, weight="bold", va="center")
    axes.text(1, line + 0.5, group.remark, fontsize=TEXT_PT, ha="right", va="center")
    line += TITLE_LINES
    scale = (RIGHT - LEFT) / max(bar.length.high for bar in group.bars)
    for bar in group.bars:
        _draw_bar(axes, bar, scale, line + 0.5)
        line += 1
    return line


def _draw_bar(axes: Axes, bar: Bar, scale: float, middle: float) -> None:
    """Name, bar, quartiles and number, centred on a line's middle."""
    low, high = LEFT + scale * bar.length.low, LEFT + scale * bar.length.high
    axes.barh(middle, scale * bar.length.median, height=0.82, left=LEFT, color=COLORS[bar.name])
    axes.plot([low, high], [middle, middle], color="black", linewidth=1.5, solid_capstyle="butt")
    write = functools.partial(axes.text, y=middle, fontsize=TEXT_PT, va="center")
    write(x=LEFT - 0.012, s=LABELS[bar.name], ha="right")
    write(x=high + 0.01, s=bar.words)

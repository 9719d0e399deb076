"""What units were built with beside what was measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from vonenet.physiology.recording import Array, Curve, GroundTruth, Mask
from vonenet.report.panels import Panel
from vonenet.report.physiology_axes import MINUS, Axis, Box, across, upward
from vonenet.report.physiology_histograms import Histogram, histogram_chart
from vonenet.report.physiology_populations import shares_in
from vonenet.report.physiology_rows import Recorded
from vonenet.report.svg import STYLES, drawing, element, joined
from vonenet.report.words import count
from vonenet.results import Result

WIDTH, HEIGHT = 350, 312
BOX = Box(left=50, right=340, top=28, bottom=272)
RATIO_EDGES = np.linspace(0, 2, 21)
CURVE_STEPS = 60
OFFSETS = {"preferred_orientation": "degrees", "peak_spatial_frequency": "octaves"}
# Of a response, so many decades below the largest: less is a rounding error of silence
DECADES = 6


@dataclass(frozen=True)
class Consistency:
    """One layer's comparison.

    Attributes:
        finding: what agrees and what does not.
        panels: a picture for each property.
    """

    finding: str
    panels: Sequence[Panel]


def consistency(layer: Recorded) -> Consistency | None:
    """None where it is not known what the units were built with, or nothing was compared."""
    drawn = layer.recording.ground_truth
    panels = [] if drawn is None else list(_panels(layer, drawn))
    if not panels:
        return None
    failing = sum(not row.flags["holds"] for row in layer.agreements.values())
    of = count(len(panels), "property", "properties")
    told = f"{failing} of {of} do not come" if failing else f"all {of} come"
    return Consistency(f"{layer.label}: {told} back as built", panels)


def _panels(layer: Recorded, drawn: GroundTruth) -> Iterator[Panel]:
    populations, rows = layer.recording.populations, layer.agreements
    if row := rows.get("preferred_orientation"):
        measured = populations["orientation"].properties["preferred_orientation"]
        beside = drawn.unwrap_orientation(measured)
        yield _scatter_panel(
            "Preferred orientation",
            row,
            layer.style,
            (drawn.orientation_deg, beside),
            drawn.whole,
            _angles("orientation of the filter's bars (degrees)", drawn.orientation_deg),
            _angles("measured (degrees)", beside),
        )
    if row := rows.get("peak_spatial_frequency"):
        measured = populations["spatial_frequency"].properties["peak_spatial_frequency"]
        both = [drawn.frequency_cpd, measured]
        yield _scatter_panel(
            "Peak spatial frequency",
            row,
            layer.style,
            (drawn.frequency_cpd, measured),
            drawn.whole,
            Axis.log("frequency of the filter's carrier (cycles/degree)", both),
            Axis.log("measured (cycles/degree)", both),
        )
    if row := rows.get("modulation_ratio"):
        yield _cell_types(layer, drawn, row)
    if row := rows.get("variance"):
        yield _noise(layer, drawn, populations["noise"].curves["variance"], row)


def _angles(name: str, values: Array) -> Axis:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return Axis(name, min(low, 0) - 8, max(high, 180) + 8, [0, 45, 90, 135, 180])


def _scatter_panel(
    name: str,
    row: Result,
    style: int,
    pair: tuple[Array, Array],
    whole: Mask,
    x_axis: Axis,
    y_axis: Axis,
) -> Panel:
    known = np.isfinite(pair[1])
    x, y = x_axis.place(BOX.left, BOX.right), y_axis.place(BOX.bottom, BOX.top)
    low, high = x_axis.low, x_axis.high
    equal = f"M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}"
    kind = f"s{style % STYLES}"
    parts = [
        upward(y_axis, BOX),
        across(x_axis, BOX),
        element("path", d=equal, class_="zero", stroke_dasharray=3),
        _cloud(x_axis, y_axis, pair, known & ~whole, "dots cut"),
        _cloud(x_axis, y_axis, pair, known & whole, f"dots {kind}"),
    ]
    cut, lost = int((~whole).sum()), int((whole & ~known).sum())
    reasons = [f"{cut:,} (grey) whose kernel's window cuts the filter off"] if cut else []
    reasons += [f"{lost:,} that did not respond or have no such property"] if lost else []
    without = f" Left out: {'; '.join(reasons)}." if reasons else ""
    picture = drawing(WIDTH, HEIGHT, name, joined(parts))
    return Panel(name, picture, f"{_told(row)}.{without}")


def _cell_types(layer: Recorded, drawn: GroundTruth, row: Result) -> Panel:
    ratio = layer.recording.populations["modulation"].properties["modulation_ratio"]
    rows = []
    for name, kind in (("simple", ~drawn.is_complex), ("complex", drawn.is_complex)):
        values = ratio[kind & np.isfinite(ratio)]
        shares = shares_in(values, RATIO_EDGES) if len(values) else None
        rows.append(
            Histogram(f"built {name}", layer.style, shares, name, count(len(values), "cell"))
        )
    axis = Axis("F1/F0", 0, 2, [0, 0.5, 1, 1.5, 2])
    without = row.data_size - row.n
    left_out = f" Left out: {without:,} that did not respond." if without else ""
    finding = f"{_told(row)}: above 1 for simple cells, below for complex ones.{left_out}"
    picture = histogram_chart(axis, RATIO_EDGES, rows, rule=1)
    return Panel("Simple and complex cells", picture, finding)


def _noise(layer: Recorded, drawn: GroundTruth, curve: Curve, row: Result) -> Panel:
    """Every unit and stimulus, variance against mean, with the noise that was built in."""
    means, variances = curve.x.ravel(), curve.rates.ravel()
    shown = (means > means.max() / 10**DECADES) & (variances > 0)
    response = np.geomspace(means.max() / 10**DECADES, 1.2 * means.max(), CURVE_STEPS)
    mean, variance = drawn.rectified_moments(response)
    x_axis = Axis.log("mean over trials (model's unit)", np.append(means[shown], mean))
    y_axis = Axis.log("variance over trials", np.append(variances[shown], variance))
    x, y = x_axis.place(BOX.left, BOX.right), y_axis.place(BOX.bottom, BOX.top)
    path = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in zip(mean, variance, strict=True))
    parts = [
        upward(y_axis, BOX),
        across(x_axis, BOX),
        _cloud(x_axis, y_axis, (means, variances), shown, f"dots many s{layer.style % STYLES}"),
        element("path", d=f"M{path}", class_="model"),
    ]
    finding = (
        f"{_told(row)}: a unit's variance over that of the noise model at its responses before "
        "noise, both summed over stimuli. A dot: a unit's trials with one stimulus; line: the "
        "noise model."
    )
    name = "Variance of the noise"
    return Panel(name, drawing(WIDTH, HEIGHT, name, joined(parts)), finding)


def _cloud(x_axis: Axis, y_axis: Axis, pair: tuple[Array, Array], shown: Mask, kind: str) -> Markup:
    """Dots, to half a pixel and each place once."""
    x, y = x_axis.place(BOX.left, BOX.right), y_axis.place(BOX.bottom, BOX.top)
    spots = {
        (round(2 * x(a)) / 2, round(2 * y(b)) / 2)
        for a, b in zip(pair[0][shown].tolist(), pair[1][shown].tolist(), strict=True)
    }
    dots = "".join(f"M{a:g} {b:g}h0" for a, b in sorted(spots))
    return element("path", d=dots, class_=kind)


def _told(row: Result) -> str:
    """The measure, its interval, and whether it holds."""
    names = {"correlation": "Correlation", "share": "Share alike", "ratio": "Median ratio"}
    sign = "✓ agrees" if row.flags["holds"] else "✗ does not agree"
    unit = OFFSETS.get(str(row.condition["property"]), "")
    offset = f", median offset {row.flags['offset']:.2f} {unit}" if "offset" in row.flags else ""
    return (
        f"{sign}. {names.get(row.metric, row.metric)} {row.value:.3f} "
        f"[{row.ci_low:.3f}, {row.ci_high:.3f}]{offset}, {count(row.n, 'unit')}"
    ).replace("-", MINUS)

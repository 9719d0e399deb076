"""Figures of recorded units: distributions beside published ones, tuning, what was built in.

recording = read_recording("physiology/voneresnet50_vone_block.npz")
orientation = recording.populations["orientation"].curves["orientation"]
orientation_figure(orientation, unit=3).savefig("tuning.pdf")

In all: `style` is the number of a layer's colour and marker, `log` whether the axis is logarithmic,
and `ticks` are the numbers along it, or places with their labels; None: round ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from vonenet.physiology.recording import Array, Curve, GroundTruth, Mask, ReceptiveFields
from vonenet.report.plots import COLORS, empty_figure, house_style, logarithmic, series_style

WIDTH = 350  # a phone's page, less its margins
PLOT_LEFT, PLOT_PX = 22, 222  # of distributions; their numbers stand right of them
ROW_PX, ROW_FILL = 52, 0.82  # a layer's height, and how much of it the highest bar fills
UNIT_SIZE = 180, 168
WHITE = "#fffffe"  # unlike the paper's, white on a dark page, too
RATE = "spikes/s"
ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks, times a power of ten
DOTS_PER_DECADE = 25  # as many places are told apart
# Of the largest response, so many decades below: less is a rounding error of silence
DECADES = 6
Style = dict[str, Any]  # keywords of matplotlib
DASHED: Style = {"color": COLORS["soft"], "lw": 1, "ls": (0, (3, 3))}
Ticks = Sequence[float] | Mapping[float, str] | None


class Distribution(NamedTuple):
    """A layer's row in a figure of distributions.

    Attributes:
        style: Number of its colour and marker.
        shares: Share of its units in each bin, (bins,); None where there is nothing to show.
        number: Its most telling number, as text.
        units: How many units, or why there are none.
        median: Median over units, which is marked; None marks none.
    """

    style: int
    shares: Array | None
    number: str
    units: str
    median: float | None = None


@house_style()
def distribution_figure(
    name: str,
    edges: npt.ArrayLike,
    rows: Sequence[Distribution],
    published: Array | None = None,
    *,
    rule: float | None = None,
    log: bool = False,
    ticks: Ticks = None,
) -> Figure:
    """Draw histograms of layers one beneath the other, each before V1's where that is known.

    Args:
        name: What the axis is, with its unit.
        edges: (bins + 1,) of the bins.
        rows: Layers, from the top.
        published: (bins,) shares of V1 cells.
        rule: Number that a dashed line marks.
        log: See above.
        ticks: See above.
    """
    edges = np.asarray(edges, np.float64)
    height = ROW_PX * len(rows) + 46
    figure = empty_figure(WIDTH, height)
    place = (PLOT_LEFT / WIDTH, 38 / height, PLOT_PX / WIDTH, ROW_PX * len(rows) / height)
    axis = figure.add_axes(place, xlim=(edges[0], edges[-1]), ylim=(1 - len(rows), 1), xlabel=name)
    axis.grid(False)
    axis.set_yticks([])
    if rule is not None:
        axis.axvline(rule, **DASHED)
    drawn = [shares for shares in (published, *(row.shares for row in rows)) if shares is not None]
    scale = ROW_FILL / (max((float(shares.max()) for shares in drawn), default=0.0) or 1.0)
    at_side = blended_transform_factory(figure.transFigure, axis.transData)
    right: Style = {"xycoords": ("figure fraction", "data"), "ha": "right", "va": "center"}
    bar: Style = {"color": COLORS["cells"], "edgecolor": COLORS["paper"], "lw": 0.7}
    for row, base in zip(rows, range(0, -len(rows), -1), strict=True):
        style = {"markersize": 8} | series_style(row.style) | {"linestyle": ""}
        axis.plot([7 / WIDTH], [base + 0.4], transform=at_side, clip_on=False, **style)
        axis.axhline(base, color=COLORS["line"], lw=1)
        if row.shares is None:
            axis.annotate(row.units, (0.03, base + 0.3), xycoords=("axes fraction", "data"))
            axis.annotate(row.number, (1, base + 0.4), fontweight="bold", **right)
            continue
        if published is not None:
            heights, widths = scale * published, np.diff(edges)
            axis.bar(edges[:-1], heights, widths, bottom=base, align="edge", **bar)
        tops, color = base + scale * row.shares, style["color"]
        axis.stairs(tops, edges, baseline=base, fill=True, color=color, alpha=0.16, lw=0)
        axis.stairs(tops, edges, baseline=base, color=color, lw=2, clip_on=False)
        if row.median is not None:
            axis.vlines(row.median, base, base + ROW_FILL, color=color, lw=3)
        axis.annotate(row.number, (1, base + 0.54), fontweight="bold", **right)
        below = (1, base + (0.26 if row.number else 0.4))
        axis.annotate(row.units, below, color=COLORS["soft"], fontsize=11, **right)
    _set_ticks(axis, log, ticks)
    return figure


@house_style()
def field_figure(fields: ReceptiveFields, unit: int, reach_deg: float) -> Figure:
    """Draw the map of a receptive field, bright where the unit responds, and its measured size.

    Args:
        fields: Of all units.
        unit: Which of them.
        reach_deg: From the centre of the image to the figure's edge, at most that of the map.
    """
    figure, axis = _unit_axes("receptive field", "degrees")
    columns, rows = (np.abs(of) <= reach_deg + 1e-6 for of in (fields.x_deg, fields.y_deg))
    x_deg = fields.x_deg[columns]
    end = x_deg[-1] + (x_deg[-1] - x_deg[0]) / max(len(x_deg) - 1, 1) / 2
    shown = fields.maps[unit][np.ix_(rows, columns)]
    axis.imshow(
        shown,
        cmap="magma",
        vmin=0,
        vmax=float(np.nanmax(shown, initial=1e-12)),
        extent=(-end, end, -end, end),
        origin="lower",
        interpolation="none",
    )
    axis.grid(False)
    center, diameter = fields.centers_deg[unit], fields.diameters_deg[unit]
    if np.isfinite([*center, diameter]).all():
        axis.add_patch(Circle(center, diameter / 2, fill=False, ec=WHITE, lw=1.25, ls=(0, (3, 2))))
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_locator(MaxNLocator(4, steps=ROUND))
        each.set_major_formatter("{x:g}")
    return figure


@house_style()
def orientation_figure(
    curve: Curve, unit: int, preferred_deg: float = np.nan, style: int = 1
) -> Figure:
    """Draw orientation tuning: rate outwards, orientation of the bars around.

    Angles count from horizontal, counter-clockwise; the half beyond 180 degrees is the mirrored
    first half.
    """
    angles, rates = np.deg2rad(_x(curve, unit)), curve.rates[unit]
    figure = empty_figure(*UNIT_SIZE)
    axis = figure.add_axes((0.2, 0.2, 0.6, 0.62), projection="polar")
    _name_top(figure, "orientation of bars")
    if not np.isfinite(rates).all():
        _say_not_measured(axis)
        return figure
    highest = float(rates.max()) or 1.0
    around = np.append(np.concatenate([angles, angles + np.pi]), angles[0])
    outwards = np.append(np.tile(np.maximum(rates, 0), 2), max(rates[0], 0))
    color = series_style(style)["color"]
    axis.fill(around, outwards, color=color, alpha=0.16, lw=0)
    axis.plot(around, outwards, color=color, clip_on=False)
    if np.isfinite(preferred_deg):
        axis.plot(np.deg2rad([preferred_deg, preferred_deg + 180]), [highest] * 2, **DASHED)
    axis.set(ylim=(0, highest), yticks=[highest / 2])
    axis.set_yticklabels([])
    axis.set_xticks(np.deg2rad([0, 90, 180, 270]), ["0°", "90°", "", ""])
    axis.tick_params(pad=0)
    axis.grid(True, axis="both")
    axis.spines["polar"].set_color(COLORS["line"])
    axis.set_xlabel(f"outer circle: {highest:.3g} {RATE}", labelpad=6)
    return figure


@house_style()
def tuning_figure(
    curve: Curve,
    unit: int,
    style: int = 1,
    *,
    name: str | None = None,
    log: bool = False,
    ticks: Ticks = None,
) -> Figure:
    """Draw rates against a stimulus's parameter: dots, and their fit or a line through them.

    The axis is called as the curve says, if it has no other name.
    """
    x, rates = _x(curve, unit), curve.rates[unit]
    figure, axis = _unit_axes(RATE, curve.axis if name is None else name)
    if not np.isfinite(rates).all():
        _say_not_measured(axis)
        return figure
    fitted = None if curve.fitted is None else curve.fitted[unit]
    line = rates if fitted is None or not np.isfinite(fitted).any() else fitted
    axis.plot(x, line, color=series_style(style)["color"], clip_on=False)
    axis.plot(x, rates, "o", ms=4.5, mew=0, color=COLORS["ink"], clip_on=False)
    axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.set_xmargin(0.02 if log else 0)
    axis.set_ylim(min(0, *rates), max(1.05 * max(*rates, *line[np.isfinite(line)]), 1e-3))
    _set_ticks(axis, log, ticks)
    return figure


@house_style()
def agreement_figure(
    name: str,
    built: Array,
    measured: Array,
    whole: Mask,
    style: int = 1,
    *,
    log: bool = False,
    ticks: Sequence[float] | None = None,
) -> Figure:
    """Draw what units were built with against what was measured back from them.

    Args:
        name: What both are, with their unit.
        built: (units,).
        measured: (units,); NaN is left out.
        whole: (units,) which filters the kernel's window holds; the others are grey.
        style: See above.
        log: See above, of both axes.
        ticks: See above, of both axes.
    """
    figure, axis = _square_axes(f"measured: {name}", f"built in: {name}")
    known = np.isfinite(measured)
    both = np.concatenate([built[known], measured[known]])
    ends = [both.min(), both.max()]
    axis.plot(ends, ends, **DASHED)
    own = series_style(style)["color"]
    for mask, color in ((known & ~whole, COLORS["soft"]), (known & whole, own)):
        axis.plot(built[mask], measured[mask], "o", ms=4.5, mew=0, color=color)
    _set_ticks(axis, log, ticks)
    if log:
        logarithmic(axis.yaxis)
    elif ticks is not None:
        axis.set_yticks(ticks)
    return figure


@house_style()
def variance_figure(curve: Curve, built: GroundTruth, style: int = 1) -> Figure:
    """Draw variance over trials against mean, every unit and stimulus, and the noise model.

    Args:
        curve: Variances (units, stimuli) against means (units, stimuli), in the model's own unit.
        built: The noise that units were built with.
        style: See above.
    """
    figure, axis = _square_axes("variance over trials", "mean over trials (model's unit)")
    means, variances = curve.x.ravel(), curve.rates.ravel()
    least, most = means.max() / 10**DECADES, means.max()
    shown = (means > least) & (variances > 0)
    places = DOTS_PER_DECADE * np.log10(np.stack([means[shown], variances[shown]]))
    dots = 10 ** (np.unique(places.round(), axis=1) / DOTS_PER_DECADE)
    axis.plot(*dots, "o", ms=2, mew=0, alpha=0.5, color=series_style(style)["color"])
    axis.plot(*built.rectified_moments(np.geomspace(least, 1.2 * most, 60)), color=COLORS["ink"])
    logarithmic(axis.xaxis)
    logarithmic(axis.yaxis)
    return figure


def _x(curve: Curve, unit: int) -> Array:
    return curve.x if curve.x.ndim == 1 else curve.x[unit]


def _unit_axes(top: str, below: str) -> tuple[Figure, Axes]:
    figure, axis = _axes(*UNIT_SIZE, 34, 102, top, below)
    axis.tick_params(labelsize=11)
    return figure, axis


def _square_axes(top: str, below: str) -> tuple[Figure, Axes]:
    return _axes(WIDTH, 312, 50, 244, top, below)


def _axes(
    width: float, height: float, left: float, inner: float, top: str, below: str
) -> tuple[Figure, Axes]:
    """Return a figure of a size in pixels, and axes of an inner height that have names."""
    figure = empty_figure(width, height)
    place = (left / width, 40 / height, (width - left - 11) / width, inner / height)
    _name_top(figure, top)
    return figure, figure.add_axes(place, xlabel=below)


def _name_top(figure: Figure, name: str) -> None:
    """Name the upward axis, at the figure's corner."""
    figure.text(0, 0.995, name, va="top", color=COLORS["soft"], fontsize=11)


def _set_ticks(axis: Axes, log: bool, ticks: Ticks) -> None:
    """Set the numbers along the bottom."""
    if log:
        logarithmic(axis.xaxis)
    else:
        most = 4 if np.ptp(axis.get_xlim()) < 0.1 else 5  # small numbers are long ones
        axis.xaxis.set_major_locator(MaxNLocator(most, steps=ROUND))
        axis.xaxis.set_major_formatter("{x:g}")
    if isinstance(ticks, Mapping):
        axis.set_xticks(list(ticks), list(ticks.values()))
    elif ticks is not None:
        axis.set_xticks(ticks)


def _say_not_measured(axis: Axes) -> None:
    axis.set_axis_off()
    where: Style = {"transform": axis.transAxes, "ha": "center", "va": "center"}
    axis.text(0.5, 0.5, "not measured", color=COLORS["soft"], **where)

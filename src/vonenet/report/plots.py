"""Plots as matplotlib figures: for pages, notebooks and papers.

Functions return figures drawn with the colours of `COLORS`. `report.page.inline_svg` turns these
colours into the variables of the page's style, so that a plot follows a dark page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import log
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from vonenet.report.tables import Estimate, radius_text

Array = npt.NDArray[np.floating]

# Colours of a light page by their names in templates/style.css. Series after Okabe and Ito 2008,
# darker for contrast on white; the colour-blind tell them apart, and markers and dashes differ too.
COLORS = {
    "ink": "#1c2126",
    "soft": "#58626d",
    "line": "#dfe3e8",
    "paper": "#ffffff",
    "cells": "#cdd3da",
    "s0": "#5f6973",
    "s1": "#0072b2",
    "s2": "#c8500a",
    "s3": "#00805c",
    "s4": "#a8528a",
    "s5": "#8a6d00",
    "s6": "#2b8cc4",
    "s7": "#1c2127",
}
MARKERS = ("s", "o", "D", "^", "X", "v", "P", ">")
DASHES = ((0, (6, 3)), "-", "-", "-", (0, (2, 2)), (0, (2, 2)), (0, (2, 2)), (0, (8, 2, 2, 2)))
STYLES = len(MARKERS)

# Of a radius axis, in shares of the span of its radii
CLEAN_GAP = 0.27  # between clean images and the smallest radius
LABEL_GAP = 0.14  # between labels, at least
V1_WIDTH_PX = 400
ON_ANY_PAGE = "#7c8894"  # text of pictures, on white and on dark

# One unit of length of a figure is one pixel of a page: 72 pixels an inch, as an SVG has them.
PIXELS_PER_INCH = 72
RC: dict[Any, Any] = {
    "figure.dpi": PIXELS_PER_INCH,
    "font.size": 12,
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "vonenet",  # the same plot gives the same file
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "lines.scale_dashes": False,
    "lines.markersize": 6,
    "lines.markeredgecolor": COLORS["paper"],
    "grid.color": COLORS["line"],
    **dict.fromkeys(("text.color", "xtick.labelcolor", "ytick.labelcolor"), COLORS["ink"]),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), COLORS["soft"]),
    **dict.fromkeys(("xtick.color", "ytick.color"), COLORS["soft"]),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor"), "none"),
    **dict.fromkeys((f"axes.spines.{side}" for side in ("top", "right", "left")), False),
    "ytick.left": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Within: matplotlib draws as our pages do, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def empty_figure(width_px: float, height_px: float) -> Figure:
    """Return a figure without axes, of a size in pixels of a page."""
    return Figure(figsize=(width_px / PIXELS_PER_INCH, height_px / PIXELS_PER_INCH))


def new_figure(width_px: float = 350, height_px: float = 270) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in pixels of a page, and its axes."""
    figure = empty_figure(width_px, height_px)
    figure.set_layout_engine("constrained")
    return figure, figure.add_subplot()


def layer_style(index: int) -> int:
    """Return the number of a layer's style: all but those of grey, the colour of a base."""
    return index + 1 + index // (STYLES - 1)


def series_style(number: int) -> dict[str, Any]:
    """Return colour, marker and dashes of a series; a layer's place where no marker is left."""
    turn, index = divmod(number, STYLES)
    style = {"color": COLORS[f"s{index}"], "marker": MARKERS[index], "linestyle": DASHES[index]}
    place = str(number - turn)
    size = {"markersize": 4 + 4 * len(place), "markeredgewidth": 0}
    return style | size | {"marker": f"$\\mathbf{{{place}}}$"} if turn else style


def logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 times powers of ten if it is short."""
    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    low, high = axis.get_data_interval()
    subs = [1, 2, 5] if high < 1000 * low else [1]
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


@house_style()
def accuracy_against_radius(norm: str, models: Mapping[str, Mapping[float, Estimate]]) -> Figure:
    """Return accuracy against the radius of an attack, on a logarithmic axis, with 95 % intervals.

    Args:
        norm: "linf", "l2" or "l1".
        models: Name -> radius in pixels of [0, 1] -> accuracy; radius 0 is clean images. A model
            that was not attacked has its colour but no line.
    """
    figure, axes = new_figure()
    attacked = [curve for curve in models.values() if any(curve)]
    radii = sorted({radius for curve in attacked for radius in curve if radius})
    first, last = log(radii[0]), log(radii[-1])
    width = (last - first) or 1.0
    clean = first - CLEAN_GAP * width  # clean images have no place on a logarithmic axis
    for number, curve in enumerate(models.values()):
        if not any(curve):
            continue
        style = series_style(number)
        # x, then value, low and high in percent
        spots = np.array(
            [(log(r) if r else clean, *(100 * x for x in curve[r])) for r in sorted(curve)]
        )
        x, value, low, high = spots.T
        line = slice(1 if 0 in curve else 0, None)
        axes.plot(x, value, color=style["color"], linewidth=1, alpha=0.55)
        axes.fill_between(x[line], low[line], high[line], color=style["color"], alpha=0.16, lw=0)
        axes.vlines(x, low, high, color=style["color"], linewidth=1.5)
        axes.plot(x[line], value[line], **(style | {"marker": ""}))
        axes.plot(x, value, markersize=8, **(style | {"linestyle": ""}))
    axes.set(xlim=(clean - 0.06 * width, last + 0.08 * width), title="accuracy, %")
    axes.set_ylim(bottom=0)
    axes.spines.bottom.set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    labels, written = {clean: "clean"}, clean
    for x, radius in zip(map(log, radii), radii, strict=True):
        fits = x - written >= LABEL_GAP * width
        labels[x] = radius_text(norm, radius) if fits else ""
        written = x if fits else written
    axes.set_xticks(list(labels), list(labels.values()))
    axes.set_xlabel("radius \N{GREEK SMALL LETTER EPSILON}", color=COLORS["ink"])
    gap, at_axis = (clean + first) / 2, axes.get_xaxis_transform()
    axes.text(gap, 0, "//", transform=at_axis, color=COLORS["soft"], ha="center", va="center")
    return figure


def kernel_mosaic(kernels: Array, columns: int) -> Array:
    """Return filters (n, k, k) side by side, each scaled to its largest value, gaps as NaN."""
    scaled = kernels / np.abs(kernels).max(axis=(1, 2), keepdims=True).clip(1e-12)
    tiles = np.pad(scaled, ((0, -len(kernels) % columns), (1, 1), (1, 1)), constant_values=np.nan)
    rows, side = len(tiles) // columns, tiles.shape[1]
    return tiles.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, -1)


@house_style()
def v1_filters(kernels: Array, columns: int = 16) -> Figure:
    """Return filters side by side, each on its own scale: 0 white, signs red and blue.

    Args:
        kernels: (n, k, k), in the order to show.
        columns: Filters in a row.
    """
    mosaic = kernel_mosaic(kernels, columns)
    figure = empty_figure(V1_WIDTH_PX, V1_WIDTH_PX * mosaic.shape[0] / mosaic.shape[1])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(mosaic, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    return figure


@house_style()
def v1_responses(
    photo: Array, kinds: Mapping[str, Mapping[str, tuple[Array, Array, Array]]]
) -> Figure:
    """Return a photograph and what V1 cells answer to it at every position.

    Args:
        photo: (H, W, 3) in [0, 1].
        kinds: Such as "simple cells" -> name of a cell, such as "44°, 2.2 c/deg" -> its filter,
            (k, k), its mean response and its response with noise, (h, w).
    """
    columns, rows = 1 + max(map(len, kinds.values())), 3 * len(kinds)
    figure = empty_figure(V1_WIDTH_PX, V1_WIDTH_PX / columns * rows)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0)
    grid = figure.subplots(rows, columns, height_ratios=[0.55, 1, 1] * len(kinds))
    names = [name for kind in kinds for name in ("", f"{kind}\nmean", "with noise")]
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.text(1, 0.3, name, ha="right", va="center", color=ON_ANY_PAGE)
    for axes in grid.flat:
        axes.axis("off")
    for row, cells in zip(range(0, rows, 3), kinds.values(), strict=True):
        for column, (name, (kernel, *responses)) in enumerate(cells.items(), start=1):
            largest = max(float(np.abs(kernel).max()), 1e-12)
            grid[row, column].imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest)
            grid[row, column].set_title(name, color=ON_ANY_PAGE, fontsize=11, loc="center")
            highest = max(float(np.quantile(responses[0], 0.995)), 1e-12)
            for axes, response in zip(grid[row + 1 : row + 3, column], responses, strict=True):
                axes.imshow(response, cmap="magma", vmin=0, vmax=highest, aspect="auto")
    inset = grid[1, 0].inset_axes((0, 0.55, 1, 1))
    inset.imshow(photo)
    inset.axis("off")
    inset.set_in_layout(False)
    return figure

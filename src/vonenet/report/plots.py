"""Plots as matplotlib figures: for pages, notebooks and papers.

Functions return figures drawn with the colours of `COLORS`. `report.page.inline_svg` turns these
colours into the variables of the page's style, so that a plot follows a dark page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of a light page by their names in templates/*.css. Series after Okabe and Ito 2008, darker
# for contrast on white; the colour-blind tell them apart, and markers and dashes differ too.
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
MARKERS = ("s", "o", "D", "^", "X", "v", "P", "_")
DASHES = ((0, (6, 3)), "-", "-", "-", (0, (2, 2)), (0, (2, 2)), (0, (2, 2)), (0, (8, 2, 2, 2)))
STYLES = len(MARKERS)

# One unit of length of a figure is one pixel of a page: 72 pixels an inch, as an SVG has them.
PIXELS_PER_INCH = 72
RC: dict[Any, Any] = {
    "figure.dpi": PIXELS_PER_INCH,
    "font.size": 12,
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "vonenet",  # the same plot gives the same file
    "text.color": COLORS["ink"],
    "axes.edgecolor": COLORS["soft"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.labelcolor": COLORS["soft"],
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.titlecolor": COLORS["soft"],
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": COLORS["line"],
    "xtick.color": COLORS["soft"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.color": COLORS["soft"],
    "ytick.labelcolor": COLORS["ink"],
    "ytick.left": False,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "lines.markeredgecolor": COLORS["paper"],
    "legend.frameon": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Within: matplotlib draws as our pages do, whatever the user's settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def new_figure(width_px: float = 350, height_px: float = 270) -> tuple[Figure, Axes]:
    """Return an empty figure of a size in pixels of a page, and its axes."""
    size = (width_px / PIXELS_PER_INCH, height_px / PIXELS_PER_INCH)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def series_style(number: int) -> dict[str, object]:
    """Return colour, marker and dashes of a series, for `Axes.plot`."""
    index = number % STYLES
    return {"color": COLORS[f"s{index}"], "marker": MARKERS[index], "linestyle": DASHES[index]}

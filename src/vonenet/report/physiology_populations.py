"""Distributions of properties over units: beside V1's published ones, and of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from vonenet.physiology.recording import Array, PublishedHistogram
from vonenet.report.differences import Estimate
from vonenet.report.panels import Panel
from vonenet.report.physiology_axes import MINUS, Axis
from vonenet.report.physiology_histograms import Bar, Histogram, histogram_chart, share_chart
from vonenet.report.physiology_rows import (
    CEILED,
    Recorded,
    defined,
    estimate,
    is_missing,
    is_share,
)
from vonenet.report.physiology_scores import properties_of
from vonenet.report.physiology_words import UNITS, decimals, missing, name_of, source_of
from vonenet.report.svg import round_ticks
from vonenet.report.words import count
from vonenet.results import wilson_interval

BINS = 20
C50_EDGES = tuple((10 ** np.linspace(-1.5, 1, 16)).tolist())


@dataclass(frozen=True)
class Distribution:
    """A property without a public histogram.

    Attributes:
        name: of the property.
        axis: what it is, with its unit.
        remark: how to read it.
        edges: of its bins; empty: as its values need.
        rule: a number that tells two kinds apart.
        counts_above: whether the share of units above it says more than the median.
        logarithmic: whether the bins are even on a logarithmic axis.
        of_noise: whether it is about noise.
    """

    name: str
    axis: str
    remark: str
    edges: tuple[float, ...] = ()
    rule: float | None = None
    counts_above: bool = False
    logarithmic: bool = False
    of_noise: bool = False


def _even(low: float, high: float, bins: int = BINS) -> tuple[float, ...]:
    return tuple(np.linspace(low, high, bins + 1).tolist())


DISTRIBUTIONS = (
    Distribution(
        "modulation_ratio",
        "F1/F0 of the best drifting grating",
        "Complex cells are left of the line at 1, simple cells right of it.",
        _even(0, 2),
        rule=1,
        counts_above=True,
    ),
    Distribution(
        "phase_invariance",
        "phase invariance",
        "The response at the worst phase over that at the best: 1 for a perfect complex cell.",
        _even(0, 1),
    ),
    Distribution(
        "circular_variance",
        "circular variance",
        "0: one orientation only; 1: all alike.",
        _even(0, 1),
    ),
    Distribution(
        "bandwidth",
        "orientation half-bandwidth (degrees)",
        "Half the width of the tuning curve at 0.707 of its maximum; units whose curve never falls "
        "so far have none.",
        _even(0, 90, 18),
    ),
    Distribution(
        "orth_pref_ratio",
        "orthogonal over preferred response",
        "0: silent to bars at right angles to the preferred ones.",
        _even(0, 1),
    ),
    Distribution(
        "c50",
        "semi-saturation contrast, c50",
        "Right of the line at 1 (full contrast): the response does not saturate. The fit ends at "
        "10.",
        C50_EDGES,
        rule=1,
        counts_above=True,
        logarithmic=True,
    ),
    Distribution(
        "cross_orientation_suppression",
        "cross-orientation suppression",
        "0: an orthogonal mask changes nothing; 1: it silences the unit; below 0: it excites.",
        _even(-1, 1),
        rule=0,
    ),
    Distribution(
        "field_diameter",
        "receptive-field diameter (degrees)",
        "Four standard deviations of the map. 0: only one position of the map excites.",
    ),
    Distribution(
        "fano_factor",
        "Fano factor",
        "Variance over mean of the spikes in 100 ms; the line at 1 is a Poisson process.",
        rule=1,
        of_noise=True,
    ),
    Distribution(
        "noise_correlation",
        "noise correlation",
        "Of each unit with all others, on average: 0 for independent noise.",
        rule=0,
        of_noise=True,
    ),
)


def published_panels(layers: Sequence[Recorded]) -> list[Panel]:
    """V1's published distributions, each with the layers'."""
    return [_published_panel(each, layers) for each in properties_of(layers)]


def other_panels(layers: Sequence[Recorded]) -> list[Panel]:
    """Distributions of properties that no histogram is public of."""
    return [panel for each in DISTRIBUTIONS if (panel := _other_panel(each, layers))]


def shares_in(values: Array, edges: Array) -> Array:
    """Share of the finite values in each bin; those beyond the edges are in the end bins."""
    known = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
    shares: Array = counts / max(len(known), 1)
    return shares


def _published_panel(published: PublishedHistogram, layers: Sequence[Recorded]) -> Panel:
    source = f"V1: {source_of(published)}"
    name = name_of(published.name)
    if is_share(published):
        yes = published.counts[1]
        share = Estimate(yes / published.n, *wilson_interval(yes, published.n))
        v1 = Bar("V1", None, share, f"{100 * share.value:.0f}% of {published.n} cells")
        picture = share_chart(name, [v1, *(_share_bar(published.name, each) for each in layers)])
        return Panel(name[0].upper() + name[1:], picture, source)
    unit = f" ({UNITS[published.unit]})" if published.unit else ""
    what = "low over high cut-off" if published.name.startswith("sf_bandwidth") else name
    edges = np.array(published.edges)
    axis = Axis(f"{what}{unit}", edges[0], edges[-1], published.edges, logarithmic=published.log)
    rows = [_published_row(published, layer) for layer in layers]
    picture = histogram_chart(axis, edges, rows, published.shares)
    return Panel(name[0].upper() + name[1:], picture, source)


def _published_row(published: PublishedHistogram, layer: Recorded) -> Histogram:
    row = layer.of(CEILED).get(published.name)
    if row is None:
        return Histogram(layer.label, layer.style, None, "", "not measured")
    if not defined(row):
        return Histogram(layer.label, layer.style, None, decimals(row.value), missing(row))
    bins = published.bins_of(layer.recording.values(published.name))
    counts = np.bincount(bins[bins >= 0], minlength=len(published.counts))
    units = missing(row) if is_missing(row) else count(defined(row), "unit")
    shares: Array = counts / counts.sum()
    return Histogram(layer.label, layer.style, shares, decimals(row.value), units)


def _share_bar(name: str, layer: Recorded) -> Bar:
    row = layer.of("share").get(name)
    if row is None:
        return Bar(layer.label, layer.style, None, "in no unit")
    words = f"{100 * row.value:.0f}% of {count(row.n, 'unit')}"
    return Bar(layer.label, layer.style, estimate(row), words)


def _other_panel(distribution: Distribution, layers: Sequence[Recorded]) -> Panel | None:
    """None where no layer has a value."""
    found = {layer.label: _values(distribution, layer) for layer in layers}
    known = [value for each in found.values() for value in each[np.isfinite(each)].tolist()]
    if not known:
        return None
    edges = np.array(distribution.edges or _edges_for(known, distribution.rule))
    axis = Axis.between(distribution.axis, edges[0], edges[-1], log=distribution.logarithmic)
    rows = [_other_row(layer, found[layer.label], edges, distribution) for layer in layers]
    picture = histogram_chart(axis, edges, rows, rule=distribution.rule)
    title = name_of(distribution.name)
    return Panel(title[0].upper() + title[1:], picture, distribution.remark)


def _values(distribution: Distribution, layer: Recorded) -> Array:
    """Nothing where it was not measured, or is about noise and there is none."""
    population = layer.recording.experiment_of(distribution.name)
    if population is None or (distribution.of_noise and not layer.recording.is_stochastic):
        return np.array([])
    return population.values(distribution.name)


def _other_row(
    layer: Recorded, values: Array, edges: Array, distribution: Distribution
) -> Histogram:
    known = values[np.isfinite(values)]
    if not len(known):
        silent = distribution.of_noise and not layer.recording.is_stochastic
        why = "no noise" if silent else "in no unit"
        return Histogram(layer.label, layer.style, None, "", why)
    shares, units = shares_in(values, edges), _of(len(known), len(values))
    if distribution.counts_above and distribution.rule is not None:
        above = 100 * float((known > distribution.rule).mean())
        figure = f"{above:.0f}% above {distribution.rule:g}"
        return Histogram(layer.label, layer.style, shares, figure, units)
    median = float(np.median(known))
    figure = on_scale(median, edges[-1] - edges[0])
    place = float(np.clip(median, edges[0], edges[-1]))
    return Histogram(layer.label, layer.style, shares, figure, units, place)


def on_scale(value: float, span: float) -> str:
    """A number to about a hundredth of an axis's length."""
    decimals_ = max(0, 2 - floor(log10(span)))
    rounded = round(value, decimals_) + 0.0  # not -0.0
    return f"{rounded:.{decimals_}f}".replace("-", MINUS)


def _of(known: int, units: int) -> str:
    return f"{known:,} of {units:,}" if known < units else count(units, "unit")


def _edges_for(values: Sequence[float], rule: float | None) -> tuple[float, ...]:
    """Even bins over all values, 0 and the line."""
    ends = [*values, 0.0, *([rule] if rule is not None else [])]
    ticks = round_ticks(min(ends), max(ends), 7, finest=-9)
    return _even(ticks[0], ticks[-1])

"""The page of `vonenet physiology`: recordings and their rows -> one self-contained file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vonenet.errors import InputError
from vonenet.physiology.recording import Array, Curve, Mask, PublishedHistogram, Recording
from vonenet.physiology.scores import EMPTY_DRAWS, LEAST_UNITS
from vonenet.report import physiology_plots as plots
from vonenet.report.page import (
    DASH,
    MINUS,
    Panel,
    count,
    first_column,
    inline_svg,
    printable,
    with_interval,
    write_html,
)
from vonenet.report.physiology_plots import Distribution
from vonenet.report.plots import layer_style
from vonenet.results import Result, read_jsonl

CEILED = "ceiled_ks_similarity"
MEAN = "mean"  # over the published properties
SHOWN_UNITS = 6
LEAST_REACH_DEG = 0.75
METRICS = {
    "median": "median",
    "share": "share",
    "ks_similarity": "similarity",
    CEILED: "similarity / ceiling",
    "correlation": "correlation with what was built in",
    "ratio": "measured / built in",
}
# Where a property's own name does not say it
NAMES = {
    "sf_selective": "share selective for spatial frequency",
    "sf_bandwidth": "spatial-frequency bandwidth, all cells",
    "sf_bandwidth_simple": "spatial-frequency bandwidth, simple cells",
    "sf_bandwidth_complex": "spatial-frequency bandwidth, complex cells",
    "strongly_suppressed": "share suppressed by a tenth or more",
    "surround_to_summation_field": "surround over summation field",
    "summation_field": "summation field, all units",
    "field_x": "receptive field, x",
    "field_y": "receptive field, y",
    "field_diameter": "receptive-field diameter",
    "bandwidth": "orientation half-bandwidth",
    "orth_pref_ratio": "orthogonal over preferred response",
    "orientation_selective": "share selective for orientation",
    "cv_bandwidth_ratio": "circular variance / half-bandwidth",
    "opr_cv_difference": "orthogonal/preferred less circular variance",
    "modulation_ratio": "F1/F0",
    "max_dc": "largest mean rate",
    "c50": "semi-saturation contrast (c50)",
    "naka_rushton_exponent": "Naka-Rushton exponent",
    "cross_orientation_suppression": "cross-orientation suppression",
    "fano_factor": "Fano factor",
    "own_fano_factor": "Fano factor of the model's own spikes",
    "own_spike_count": "model's own spikes",
    "variance": "variance of the noise",
}
UNITS = {
    "deg": " (degrees)",
    "1/deg": " (1/°)",
    "cpd": " (cycles/degree)",
    "spikes/s": " (spikes/s)",
    "%": " (%)",
    "": "",
}
# Properties of which no histogram of V1 is public: unit, ends of the axis (None: as the values
# need), dashed line. How to read them stands in the template.
PROPERTIES: dict[str, tuple[str, tuple[float, float] | None, float | None]] = {
    "phase_invariance": ("", (0, 1), None),
    "c50": ("", (10**-1.5, 10), 1),
    "cross_orientation_suppression": ("", (-1, 1), 0),
    "field_diameter": ("deg", None, None),
    "fano_factor": ("", None, 1),
    "own_fano_factor": ("", None, 1),
    "own_spike_count": ("", None, None),
    "noise_correlation": ("", None, 0),
}
COUNTED_ABOVE = ("c50",)  # how many are above the line, not the median
# An example unit responds in all of these
SHOWN_EXPERIMENTS = {"orientation", "modulation", "spatial_frequency", "size", "contrast"}
# What its caption says
ABOUT_UNIT = {
    "modulation_ratio": "F1/F0 {:.2f}",
    "preferred_orientation": "bars of {:.0f}°",
    "bandwidth": "half-bandwidth {:.0f}°",
    "peak_spatial_frequency": "peak {:#.3g} cycles/degree",
    "surround_suppression_index": "suppression index {:.2f}",
    "c50": "c50 {:.2f}",
}
# Axis of a tuning curve, whether it is logarithmic, its ticks
TUNING: dict[str, tuple[str, bool, Sequence[float] | None]] = {
    "spatial_frequency": ("cycles/degree", True, None),
    "size": ("diameter (degrees)", True, None),
    "contrast": ("contrast", False, (0, 0.5, 1)),
    "phase": ("phase (degrees)", False, (0, 90, 180, 270, 360)),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """A recording and its rows.

    Attributes:
        recording: What was recorded.
        label: Model and layer, and what tells them apart where these are not unique.
        style: Number of its colour and marker in every figure.
        rows: Every row of the recording.
    """

    recording: Recording
    label: str
    style: int
    rows: Sequence[Result]

    def of(self, metric: str) -> Mapping[str, Result]:
        """Return rows of a metric by property, without those of what was built in."""
        return {
            str(row.condition["property"]): row
            for row in self.rows
            if row.metric == metric and "holds" not in row.flags
        }

    @property
    def agreements(self) -> Mapping[str, Result]:
        """Rows that compare with what the units were built with, by property."""
        return {str(row.condition["property"]): row for row in self.rows if "holds" in row.flags}


def write_physiology_report(recordings: Sequence[Recording], results: Path, out: Path) -> str:
    """Write the page of recorded layers, whole or not at all.

    Args:
        recordings: In the order of the page.
        results: The file with their rows, and perhaps others.
        out: The page.

    Returns:
        The table of scores for the terminal.

    Raises:
        InputError: No recording, one without rows, or a file that cannot be read or written.
    """
    layers = read_layers(recordings, results)
    published = published_of(layers)
    experiments = {
        name: population.source
        for recording in recordings
        for name, population in recording.populations.items()
    }
    write_html(
        "physiology.html",
        out,
        layers=layers,
        verdict=verdict(layers),
        scores=[(each.name, source_of(each)) for each in published],
        published={each.name: published_panel(each, layers) for each in published},
        others=other_panels(layers),
        examples=[example_units(layer) for layer in layers],
        agreements={layer.label: panels for layer in layers if (panels := agreement_panels(layer))},
        experiments=experiments,
        metrics=METRICS,
        functions={each.__name__: each for each in (compared, is_missing, name_of, why_not)},
        sources=results.name,
    )
    return text_table(layers)


def read_layers(recordings: Sequence[Recording], results: Path) -> list[Layer]:
    """Find the rows of each recording.

    Raises:
        InputError: No recording, a file that is not one of rows, or one that lacks a recording's.
    """
    if not recordings:
        raise InputError("no recording: a page needs at least one")
    rows = read_jsonl(results)
    names = [each.label for each in recordings]
    layers = []
    for index, recording in enumerate(recordings):
        whose = (recording.model, recording.model_hash)
        measured = {"layer": recording.layer, "preprocessing": ""} | dict(recording.settings)
        own = [
            row
            for row in rows
            if (row.model, row.model_hash) == whose and condition_of(row) == measured
        ]
        responds = any(each.responsive.any() for each in recording.populations.values())
        if not own and responds:
            raise InputError(f"{results} has no row of {recording.label} as it was recorded")
        weights = f" ({recording.model_hash[:8]})" if names.count(recording.label) > 1 else ""
        label = recording.label + weights
        layers.append(Layer(recording, label, layer_style(index), own))
    return layers


def condition_of(row: Result) -> dict[str, object]:
    """Return what a row says of how its layer was recorded."""
    known = {**row.condition, "seed": row.seed, "preprocessing": row.preprocessing}
    return {name: value for name, value in known.items() if name != "property"}


def published_of(layers: Sequence[Layer]) -> list[PublishedHistogram]:
    """Return the properties that any layer was scored in, those in the mean first."""
    found = {
        each.name: each
        for layer in layers
        for each in layer.recording.published
        if each.name in layer.of(CEILED)
    }
    return sorted(found.values(), key=lambda each: not each.in_mean)


def name_of(name: str) -> str:
    """Return a property in words."""
    return NAMES.get(name, name.replace("_", " "))


def source_of(published: PublishedHistogram) -> str:
    """Return how many cells were counted, which, and where."""
    which = f" ({published.cells})" if published.cells else ""
    beside = "" if published.in_mean else "; in no mean"
    return f"{count(published.n, 'cell')}{which}, {published.paper}{beside}"


def why_not(layer: Layer, name: str) -> str:
    """Return why a layer has no score in a property, or no mean."""
    populations = layer.recording.populations.values()
    found = [p for p in populations if name in p.properties or name == MEAN]
    units = max((int(np.count_nonzero(p.responsive)) for p in found), default=None)
    if units is None or units >= LEAST_UNITS:
        return "not measured"
    return f"no score: {count(units, 'unit')} of {LEAST_UNITS} needed"


def _defined(row: Result) -> int:
    """Return for how many units of a similarity's row the property is defined."""
    return row.n - int(row.flags.get("undefined", 0))


def is_missing(row: Result) -> bool:
    """Return whether a similarity is 0 because hardly any unit has the property."""
    lacking = 1 - _defined(row) / row.n if row.n else 1.0
    return row.value == 0 and lacking**row.data_size > EMPTY_DRAWS


def compared(row: Result) -> str:
    """Return how many units, or for the mean properties, were compared."""
    if properties := int(row.flags.get("properties", 0)):
        return count(properties, "property", "properties")
    return _of(_defined(row), row.n)


def _of(known: int, units: int) -> str:
    return f"{known:,} of {count(units, 'unit')}" if known < units else count(units, "unit")


def by_likeness(layers: Sequence[Layer]) -> list[tuple[Layer, Result]]:
    """Return layers with their means, the most like V1 first; not those with fewer properties."""
    known = [(layer, mean) for layer in layers if (mean := layer.of(CEILED).get(MEAN))]
    most = max((int(mean.flags["properties"]) for _, mean in known), default=0)
    comparable = [pair for pair in known if pair[1].flags["properties"] == most]
    return sorted(comparable, key=lambda pair: -pair[1].value)


def verdict(layers: Sequence[Layer]) -> str:
    """Return which layer is most like V1, and how much."""
    ranked = by_likeness(layers)
    if not ranked:
        reasons = {why_not(layer, MEAN) for layer in layers}
        return f"No layer has a score ({'; '.join(sorted(reasons))})."
    said = [f"{layer.label}, {with_interval(mean, 2)}" for layer, mean in ranked[:2]]
    mean = ranked[0][1]
    over = count(int(mean.flags["properties"]), "published property", "published properties")
    if not said[1:]:
        return f"Similarity to V1: {said[0]}, the mean over {over}."
    overlap = " (the intervals overlap)" if mean.ci_low <= ranked[1][1].ci_high else ""
    return f"Most like V1: {said[0]}, the mean over {over}. Next: {said[1]}{overlap}."


def text_table(layers: Sequence[Layer]) -> str:
    """Return properties by layers, for the terminal."""
    published = published_of(layers)
    names = [each.name for each in published if each.in_mean]
    names += [MEAN, *(each.name for each in published if not each.in_mean)]
    lines = first_column(["similarity to V1, 1 is best", "", *map(name_of, names)])
    for layer in layers:
        model, scores = layer.recording.model, layer.of(CEILED)
        column = [printable(model), printable(layer.label.removeprefix(model).strip())]
        for name in names:
            row = scores.get(name)
            if row is None:
                column.append(f"{DASH} {why_not(layer, name)}")
            else:
                column.append("0.00 (none)" if is_missing(row) else with_interval(row, 2))
        width = 2 + max(map(len, column))
        lines = [f"{line}{cell:>{width}}" for line, cell in zip(lines, column, strict=True)]
    return "\n".join(lines)


def _panel(name: str, figure: Figure, finding: str) -> Panel:
    return Panel(name[0].upper() + name[1:], inline_svg(figure, name), finding)


def published_panel(published: PublishedHistogram, layers: Sequence[Layer]) -> Panel:
    """Return a published distribution with the layers'."""
    name, caption = name_of(published.name), f"V1: {source_of(published)}"
    ticks: Mapping[float, str] | Sequence[float] | None = (
        published.edges if published.period else None
    )
    if _is_share(published):
        ticks = {0.25: "no", 0.75: "yes"}
        caption = f"V1: {published.shares[1]:.0%} of {source_of(published)}"
    figure = plots.distribution_figure(
        ("low over high cut-off" if published.unit == "%" else name) + UNITS[published.unit],
        published.edges,
        [published_distribution(published, layer) for layer in layers],
        published.shares,
        log=published.log,
        ticks=ticks,
    )
    return _panel(name, figure, caption)


def published_distribution(published: PublishedHistogram, layer: Layer) -> Distribution:
    """Return a layer's shares in the bins of V1's, those beyond the edges in the end bins."""
    row = layer.of(CEILED).get(published.name)
    if row is None:
        return Distribution(layer.style, None, "", why_not(layer, published.name))
    if not _defined(row):
        return Distribution(layer.style, None, f"{row.value:.2f}", compared(row))
    bins = published.bins_of(layer.recording.values(published.name))
    shares = np.bincount(bins[bins >= 0], minlength=len(published.counts)) / _defined(row)
    units = f"{shares[1]:.0%} of {compared(row)}" if _is_share(published) else compared(row)
    return Distribution(layer.style, shares, f"{row.value:.2f}", units)


def _is_share(published: PublishedHistogram) -> bool:
    """Return whether a cell has the property or has it not."""
    return published.edges == (0, 0.5, 1)


def other_panels(layers: Sequence[Layer]) -> dict[str, Panel]:
    """Return distributions of properties of which no histogram is public, by property."""
    panels = {}
    for name, (unit, ends, rule) in PROPERTIES.items():
        known = np.concatenate([_known(name, layer.recording) for layer in layers])
        if not len(known):
            continue
        whole = np.array([*known, 0, rule or 0])
        top = whole.max() if np.ptp(whole) > 1e-9 else 1.0  # all are 0, as fields of one patch are
        low, *_, high = ends or MaxNLocator(7).tick_values(whole.min(), top)
        log = name == "c50"
        edges = np.geomspace(low, high, 16) if log else np.linspace(low, high, 21)
        rows = [other_distribution(name, layer, edges) for layer in layers]
        axis = name_of(name) + UNITS[unit]
        figure = plots.distribution_figure(axis, edges, rows, rule=rule, log=log)
        panels[name] = _panel(name_of(name), figure, "")
    return panels


def _absence(name: str, recording: Recording) -> str:
    """Return why no unit can have a property; "" if one can."""
    population = recording.experiment_of(name)
    if population is None:
        return "not measured"
    is_silent = population.experiment == "noise" and not recording.is_stochastic
    return "no noise" if is_silent else ""


def _known(name: str, recording: Recording) -> Array:
    """Return the values of the units that have a property."""
    values = np.array([]) if _absence(name, recording) else recording.values(name)
    known: Array = values[np.isfinite(values)]
    return known


def other_distribution(name: str, layer: Layer, edges: Array) -> Distribution:
    """Return the shares of values in bins, and their median or how many are above the line."""
    known, rule = _known(name, layer.recording), PROPERTIES[name][2]
    if not len(known):
        absence = _absence(name, layer.recording) or "in no unit"
        return Distribution(layer.style, None, "", absence)
    units, shares = _of(len(known), len(layer.recording.values(name))), shares_in(known, edges)
    if rule is not None and name in COUNTED_ABOVE:
        above = f"{(known > rule).mean():.0%} above {rule:g}"
        return Distribution(layer.style, shares, above, units)
    median = float(np.median(known))
    text = f"{float(f'{round(median, 4):.2g}') + 0.0:g}"  # neither 1e-17 nor -0
    place = float(np.clip(median, edges[0], edges[-1]))
    return Distribution(layer.style, shares, text.replace("-", MINUS), units, place)


def shares_in(values: Array, edges: Array) -> Array:
    """Return the share of values in each bin, (bins,); those beyond are in the end bins."""
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    shares: Array = counts / max(len(values), 1)
    return shares


def example_units(layer: Layer) -> tuple[str, list[tuple[str, str, list[Markup]]]]:
    """Choose some units of a layer and draw their receptive fields and tuning.

    Returns:
        How many units respond in every experiment; name, properties and figures of each chosen one.
    """
    recording, fields = layer.recording, layer.recording.fields
    found = candidates(recording)
    simple = int(_is_simple(recording)[found].sum())
    kinds = f"{simple:,} simple, {len(found) - simple:,} complex"
    chosen = choose(recording, found, SHOWN_UNITS)
    reaches = np.abs(fields.centers_deg[chosen]).max(axis=1) + fields.diameters_deg[chosen]
    reach = max([LEAST_REACH_DEG, *reaches[np.isfinite(reaches)]])
    reach = min(reach, float(fields.x_deg.max()))
    return f"{len(found):,} of {count(len(recording.units), 'unit')} ({kinds})", [
        (
            f"Channel {recording.units[unit, 0]}",
            about_unit(recording, unit),
            list(_unit_figures(layer, unit, reach)),
        )
        for unit in chosen
    ]


def candidates(recording: Recording) -> list[int]:
    """Return units that respond in every experiment that is shown."""
    responsive = np.ones(len(recording.units), bool)
    for name in SHOWN_EXPERIMENTS & recording.populations.keys():
        responsive &= recording.populations[name].responsive
    found: list[int] = np.flatnonzero(responsive).tolist()
    return found


def choose(recording: Recording, candidates: Sequence[int], most: int) -> list[int]:
    """Return simple and complex cells by turns, spread evenly over the ranks of peak frequency.

    Args:
        recording: Whose.
        candidates: Units to choose from.
        most: How many at most; where one kind has too few, the other has more.
    """
    frequencies, is_simple = recording.of_all_units("peak_spatial_frequency"), _is_simple(recording)
    ranked = sorted(candidates, key=lambda unit: (frequencies[unit], unit))
    simple = [unit for unit in ranked if is_simple[unit]]
    complex_ = [unit for unit in ranked if not is_simple[unit]]
    of_simple = min(len(simple), max(most // 2, most - len(complex_)))
    pairs = zip_longest(_spread(simple, of_simple), _spread(complex_, most - of_simple))
    return [unit for unit in chain.from_iterable(pairs) if unit is not None]


def _spread(ranked: Sequence[int], most: int) -> list[int]:
    """Return the middle one of each of so many equal groups."""
    groups = min(most, len(ranked))
    return [ranked[int((group + 0.5) * len(ranked) / groups)] for group in range(groups)]


def _is_simple(recording: Recording) -> Mask:
    simple: Mask = recording.of_all_units("modulation_ratio") > 1
    return simple


def about_unit(recording: Recording, unit: int) -> str:
    """Return a unit's kind and properties."""
    found = {name: float(recording.of_all_units(name)[unit]) for name in ABOUT_UNIT}
    found["preferred_orientation"] %= 180
    parts = [ABOUT_UNIT[name].format(value) for name, value in found.items() if np.isfinite(value)]
    if found["c50"] > 1:
        parts[-1] = "does not saturate"  # a fit's c50 above full contrast is no measurement
    return "; ".join(["simple" if _is_simple(recording)[unit] else "complex", *parts])


def _unit_figures(layer: Layer, unit: int, reach_deg: float) -> Iterator[Markup]:
    recording, style = layer.recording, layer.style
    yield inline_svg(plots.field_figure(recording.fields, unit, reach_deg), "receptive field")
    curves: dict[str, Curve] = {}
    for population in recording.populations.values():
        curves |= population.curves
    if curve := curves.get("orientation"):
        preferred = float(recording.of_all_units("preferred_orientation")[unit])
        figure = plots.orientation_figure(curve, unit, preferred, style)
        yield inline_svg(figure, "orientation tuning")
    if curve := curves.get("phase"):  # ends with its first point, at 360 degrees
        rates = np.column_stack([curve.rates, curve.rates[:, :1]])
        curves["phase"] = Curve(curve.axis, np.append(curve.x, 360.0), rates)
    for name, (axis, is_log, ticks) in TUNING.items():
        if curve := curves.get(name):
            figure = plots.tuning_figure(curve, unit, style, name=axis, log=is_log, ticks=ticks)
            yield inline_svg(figure, f"response against {axis}")


def agreement_panels(layer: Layer) -> list[Panel]:
    """Return what was measured beside what the units were built with; none if it is not known."""
    built, recording = layer.recording.ground_truth, layer.recording
    if built is None:
        return []
    panels = []
    for name, row in layer.agreements.items():
        values = recording.of_all_units(name)
        if name == "variance":
            curve = recording.populations["noise"].curves["variance"]
            figure = plots.variance_figure(curve, built, layer.style)
        elif name == "modulation_ratio":
            edges, kinds = np.linspace(0, 2, 21), []
            for kind, mask in (("simple", ~built.is_complex), ("complex", built.is_complex)):
                own = values[mask & np.isfinite(values)]
                shares = shares_in(own, edges) if len(own) else None
                kinds.append(Distribution(layer.style, shares, kind, count(len(own), "cell")))
            figure = plots.distribution_figure("F1/F0", edges, kinds, rule=1)
        elif name == "preferred_orientation":
            pair = (built.orientation_deg, built.unwrap_orientation(values))
            axis, ticks = "orientation of bars (degrees)", (0, 45, 90, 135, 180)
            figure = plots.agreement_figure(axis, *pair, built.whole, layer.style, ticks=ticks)
        else:
            axis, pair = "spatial frequency (cycles/degree)", (built.frequency_cpd, values)
            figure = plots.agreement_figure(axis, *pair, built.whole, layer.style, log=True)
        panels.append(_panel(name_of(name), figure, agreement(row)))
    return panels


def agreement(row: Result) -> str:
    """Return whether what was built in came back, how well, and over how many units."""
    names = {"correlation": "correlation", "share": "share alike", "ratio": "median ratio"}
    parts = [
        f"{'✓ agrees' if row.flags['holds'] else '✗ does not agree'}: {names[row.metric]} "
        f"{with_interval(row)}",
        count(row.n, "unit"),
    ]
    if "offset" in row.flags:
        unit = "octaves" if row.condition["property"] == "peak_spatial_frequency" else "degrees"
        parts.insert(1, f"median offset {row.flags['offset']:.2f} {unit}")
    if row.data_size > row.n:
        parts.append(f"{row.data_size - row.n:,} left out")
    return ", ".join(parts).replace("-", MINUS)

"""The page of `vonenet physiology`: recordings and their rows -> one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vonenet.errors import InputError
from vonenet.physiology.recording import Population, PublishedHistogram, Recording
from vonenet.report import physiology_panels as panels
from vonenet.report.page import DASH, count, duration, first_column, number, printable, write_html
from vonenet.report.physiology_panels import CEILED, Layer, compared, is_missing, name_of, source_of
from vonenet.results import Result, read_jsonl

MEAN = "mean"  # over the published properties
IN_NO_MEAN = "sf_bandwidth"  # two others replace it in the mean; its cells are theirs
LAYER_STYLES = 7  # of the 8 all but number 0, the grey of a base
TEXT_GAP = 2  # between columns of the terminal's table
METRICS = {
    "median": "median",
    "share": "share",
    "ks_similarity": "similarity",
    CEILED: "similarity / ceiling",
    "correlation": "correlation with what was built in",
    "ratio": "measured / built in",
}


@dataclass(frozen=True)
class Cell:
    """A layer's similarity to V1 in the table.

    Attributes:
        value: As text; a dash where it was not measured.
        interval: Its 95 % interval, as text.
        units: How many units, or for the mean properties, were compared.
        ends: Lower end, value and upper end, for the mark; None draws none.
    """

    value: str = DASH
    interval: str = ""
    units: str = "not measured"
    ends: tuple[float, float, float] | None = None


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
    write_html(
        "physiology.html",
        out,
        layers=[(layer.label, layer.style, panels.sign(layer)) for layer in layers],
        verdict=verdict(layers),
        means=score_cells(layers, MEAN),
        scores=[
            (name_of(each.name), source_of(each), score_cells(layers, each.name))
            for each in published
        ],
        published=[panels.published_panel(each, layers) for each in published],
        others=panels.other_panels(layers),
        examples=[panels.example_units(layer) for layer in layers],
        agreements=[
            (layer.label, found) for layer in layers if (found := panels.agreement_panels(layer))
        ],
        counts=_counts(layers),
        settings=_settings(layers),
        numbers=[every_number(layer) for layer in layers],
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
    layers = []
    for index, (recording, label) in enumerate(zip(recordings, labels(recordings), strict=True)):
        own = [row for row in rows if _belongs(row, recording)]
        if not own:
            raise InputError(f"{results} has no row of {recording.label} as it was recorded")
        layers.append(Layer(recording, label, 1 + index % LAYER_STYLES, own))
    return layers


def _belongs(row: Result, recording: Recording) -> bool:
    expected = {"layer": recording.layer} | dict(recording.settings)
    found = {name: value for name, value in row.condition.items() if name != "property"}
    same_model = (row.model, row.model_hash) == (recording.model, recording.model_hash)
    return same_model and found | {"seed": row.seed} == expected


def labels(recordings: Sequence[Recording]) -> list[str]:
    """Return model and layer of each, told apart by the weights, then by numbers."""
    found = [each.label for each in recordings]
    found = [
        f"{label} ({each.model_hash[:8]})" if found.count(label) > 1 else label
        for label, each in zip(found, recordings, strict=True)
    ]
    return [
        f"{label} #{1 + found[:index].count(label)}" if found.count(label) > 1 else label
        for index, label in enumerate(found)
    ]


def published_of(layers: Sequence[Layer]) -> list[PublishedHistogram]:
    """Return the averaged properties that any layer was scored in, in their order."""
    found = {
        each.name: each
        for layer in layers
        for each in layer.recording.published
        if each.name in layer.of(CEILED) and each.name != IN_NO_MEAN
    }
    return list(found.values())


def score_cells(layers: Sequence[Layer], name: str) -> list[Cell]:
    """Return each layer's similarity to V1 in a property, over the ceiling."""
    return [_cell(layer.of(CEILED).get(name)) for layer in layers]


def _cell(row: Result | None) -> Cell:
    if row is None:
        return Cell()
    properties = int(row.flags.get("properties", 0))
    units = count(properties, "property", "properties") if properties else compared(row)
    if is_missing(row):
        return Cell(f"{row.value:.2f}", "", units)
    low, value, high = (min(max(end, 0.0), 1.1) for end in (row.ci_low, row.value, row.ci_high))
    return Cell(f"{row.value:.2f}", _interval(row), units, (low, value, high))


def _interval(row: Result) -> str:
    return f"[{row.ci_low:.2f}, {row.ci_high:.2f}]"


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
        return "No property with a published distribution was measured."
    said = [f"{layer.label}, {mean.value:.2f} {_interval(mean)}" for layer, mean in ranked[:2]]
    mean = ranked[0][1]
    over = count(int(mean.flags["properties"]), "published property", "published properties")
    if not said[1:]:
        return f"Similarity to V1: {said[0]}, the mean over {over}."
    overlap = " (the intervals overlap)" if mean.ci_low <= ranked[1][1].ci_high else ""
    return f"Most like V1: {said[0]}, the mean over {over}. Next: {said[1]}{overlap}."


def every_number(layer: Layer) -> list[tuple[str, ...]]:
    """Return property, metric, value, interval, units and source of all rows of a layer."""
    return [
        (
            name_of(str(row.condition["property"])),
            "share alike"
            if row.metric == "share" and "holds" in row.flags
            else METRICS[row.metric],
            _plain(row.value),
            f"[{_plain(row.ci_low)}, {_plain(row.ci_high)}]",
            f"{row.n:,}",
            row.data,
        )
        for row in sorted(layer.rows, key=lambda row: list(METRICS).index(row.metric))
    ]


def _plain(value: float) -> str:
    return "0" if value == 0 else number(value)


def text_table(layers: Sequence[Layer]) -> str:
    """Return properties by layers, for the terminal."""
    names = [*(each.name for each in published_of(layers)), MEAN]
    heads = first_column(["similarity to V1, 1 is best", "", *map(name_of, names)])
    columns = []
    for layer in layers:
        model = layer.recording.model
        cells = [score_cells([layer], name)[0] for name in names]
        told = [
            f"{c.value} {c.interval or ('(none)' if c.value != DASH else c.units)}" for c in cells
        ]
        columns.append(
            [printable(model), printable(layer.label.removeprefix(model).strip()), *told]
        )
    widths = [TEXT_GAP + max(map(len, column)) for column in columns]
    return "\n".join(
        head + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for head, *cells in zip(heads, *columns, strict=True)
    )


# Rows of a table: name, source, and for each layer a value and a remark
Rows = list[tuple[str, str, list[tuple[str, str]]]]


def _counts(layers: Sequence[Layer]) -> Rows:
    """Units of each experiment, with the paper that it follows."""
    populations: dict[str, Population] = {}
    for layer in layers:
        populations |= layer.recording.populations
    return [
        (
            name.replace("_", " "),
            population.source,
            [_counted(layer.recording.populations.get(name)) for layer in layers],
        )
        for name, population in populations.items()
    ]


def _counted(population: Population | None) -> tuple[str, str]:
    if population is None:
        return DASH, ""
    counts = population.counts
    outside, poor = counts["recorded"] - counts["in_field"], counts.get("poor_fits", 0)
    remarks = [f"elsewhere: {outside:,}"] if outside else []
    remarks += [f"poor fits: {poor:,}"] if poor else []
    return f"{counts['responsive']:,} of {counts['recorded']:,}", ", ".join(remarks)


def _settings(layers: Sequence[Layer]) -> Rows:
    """Return what the numbers depend on, of each layer."""
    columns = [_setting_column(layer.recording) for layer in layers]
    return [(name, "", [(column[name], "") for column in columns]) for name in columns[0]]


def _setting_column(recording: Recording) -> Mapping[str, str]:
    settings = recording.settings
    degrees, pixels = float(settings["degrees"]), int(settings["pixels"])
    channels, height, width = recording.map_shape
    places = len({(int(row), int(column)) for _, row, column in recording.units})
    if not recording.is_stochastic:
        responses = "deterministic, recorded once"
    elif settings.get("before_noise"):
        responses = "tuning before noise; noise from trials of its own"
    else:
        responses = f"mean over trials with noise: {settings['trials']}"
    return {
        "weights": recording.model_hash,
        "layer's map": f"{count(channels, 'channel')}, {height} x {width}",
        "units": f"{len(recording.units):,} at {count(places, 'place')} of the map",
        "field of view": f"{degrees:g} degrees",
        "image": f"{pixels} x {pixels} px, {pixels / degrees:g} px/degree",
        "responses": responses,
        "spikes/s": f"{number(recording.rate_slope)} x response {recording.rate_offset:+.3g}",
        "seed": str(settings["seed"]),
        "versions": ", ".join(f"{name} {each}" for name, each in recording.versions.items()),
        "time": duration(recording.seconds),
    }

"""How units were recorded: counts of each experiment, settings, papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vonenet.physiology.recording import Population
from vonenet.report.physiology_rows import Recorded
from vonenet.report.words import DASH, count, duration, number

EXPERIMENTS = {
    "receptive_field": "receptive fields",
    "orientation": "orientation",
    "modulation": "F1/F0",
    "phase": "phase",
    "spatial_frequency": "spatial frequency",
    "size": "size and surround",
    "contrast": "contrast",
    "cross_orientation": "cross-orientation masking",
    "noise": "noise",
}


@dataclass(frozen=True)
class Note:
    """A row of a table: a term, what it means, and its value and a remark on it in each layer."""

    name: str
    about: str
    values: Sequence[tuple[str, str]]


def counts(layers: Sequence[Recorded]) -> list[Note]:
    """Units of each experiment, with the paper that it follows."""
    populations: dict[str, Population] = {}
    for layer in layers:
        populations |= dict(layer.recording.populations)
    return [
        Note(
            EXPERIMENTS.get(name, name.replace("_", " ")),
            population.source,
            [_counted(layer.recording.populations.get(name)) for layer in layers],
        )
        for name, population in populations.items()
    ]


def settings(layers: Sequence[Recorded]) -> list[Note]:
    """What the numbers depend on, of each layer."""
    columns = [_settings(layer) for layer in layers]
    return [Note(name, "", [(column[name], "") for column in columns]) for name in columns[0]]


def _counted(population: Population | None) -> tuple[str, str]:
    if population is None:
        return DASH, ""
    counted = population.counts
    words = f"{counted.get('responsive', 0):,} of {counted.get('recorded', 0):,}"
    outside = counted.get("recorded", 0) - counted.get("in_field", 0)
    remarks = [f"{outside:,} elsewhere"] if outside else []
    if poor := counted.get("poor_fits", 0):
        remarks.append(f"{poor:,} poor {'fit' if poor == 1 else 'fits'}")
    return words, ", ".join(remarks)


def _settings(layer: Recorded) -> Mapping[str, str]:
    recording = layer.recording
    told = recording.settings
    degrees, pixels = float(told["degrees"]), int(told["pixels"])
    channels, height, width = recording.map_shape
    sign = "+" if recording.rate_offset >= 0 else "\N{MINUS SIGN}"
    rate = f"{number(recording.rate_slope)} x response {sign} {abs(recording.rate_offset):.3g}"
    return {
        "weights": recording.model_hash,
        "layer's map": f"{count(channels, 'channel')}, {height} x {width}",
        "units": _units(layer),
        "field of view": f"{degrees:g} degrees",
        "image": f"{pixels} x {pixels} px, {pixels / degrees:g} px/degree",
        "responses": _responses(layer),
        "spikes/s": rate,
        "seed": str(told["seed"]),
        "versions": ", ".join(f"{name} {each}" for name, each in recording.versions.items()),
        "time": duration(recording.seconds),
    }


def _units(layer: Recorded) -> str:
    units = layer.recording.units
    places = {(int(row), int(column)) for _, row, column in units}
    if len(places) > 1:
        return f"{len(units):,} at {len(places):,} places"
    row, column = places.pop()
    return f"{len(units):,} at row {row}, column {column}"


def _responses(layer: Recorded) -> str:
    recording = layer.recording
    if not recording.is_stochastic:
        return "deterministic, recorded once"
    if recording.settings.get("before_noise"):
        return "tuning before noise; noise from trials of its own"
    return f"mean of {count(int(recording.settings['trials']), 'trial')} with noise"

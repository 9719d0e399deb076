"""Example units of a layer, chosen by a rule, each with its receptive field and tuning curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from markupsafe import Markup

from vonenet.physiology.recording import Curve, Mask, Recording
from vonenet.report.physiology_axes import Axis
from vonenet.report.physiology_curves import (
    cycle,
    field_chart,
    polar_chart,
    reach_of,
    tuning_chart,
)
from vonenet.report.physiology_rows import Recorded
from vonenet.report.words import count, number

SHOWN = 6
EXPERIMENTS = ("orientation", "modulation", "spatial_frequency", "size", "contrast")
FREQUENCY, MODULATION = "peak_spatial_frequency", "modulation_ratio"


@dataclass(frozen=True)
class Unit:
    """One unit's row: what it is in words, and its charts."""

    name: str
    about: str
    charts: Sequence[Markup]


@dataclass(frozen=True)
class Examples:
    """A layer's example units and the rule that chose them."""

    label: str
    rule: str
    units: Sequence[Unit]


def examples(layer: Recorded) -> Examples:
    """Some units of a layer."""
    recording = layer.recording
    candidates = candidates_of(recording)
    chosen = choose(recording, candidates)
    reach = reach_of(recording.fields, chosen)
    return Examples(
        layer.label,
        _rule(recording, candidates, len(chosen)),
        [_unit(layer, unit, reach) for unit in chosen],
    )


def candidates_of(recording: Recording) -> list[int]:
    """Units that respond in every experiment that is shown."""
    responsive = np.ones(len(recording.units), bool)
    for name in EXPERIMENTS:
        if name in recording.populations:
            responsive &= recording.populations[name].responsive
    found: list[int] = np.flatnonzero(responsive).tolist()
    return found


def choose(recording: Recording, candidates: Sequence[int], most: int = SHOWN) -> list[int]:
    """Simple and complex cells by turns, each spread evenly over the ranks of peak frequency.

    Args:
        recording: whose.
        candidates: units to choose from.
        most: how many at most; where one kind has too few, the other has more.
    """
    frequencies = _property(recording, FREQUENCY)
    ranked = sorted(candidates, key=lambda unit: (frequencies[unit], unit))
    simple = [unit for unit in ranked if _is_simple(recording)[unit]]
    complex_ = [unit for unit in ranked if not _is_simple(recording)[unit]]
    of_simple = min(len(simple), max(most // 2, most - len(complex_)))
    pairs = zip_longest(_spread(simple, of_simple), _spread(complex_, most - of_simple))
    return [unit for unit in chain.from_iterable(pairs) if unit is not None]


def _spread(ranked: Sequence[int], most: int) -> list[int]:
    """The middle one of each of so many equal groups."""
    groups = min(most, len(ranked))
    return [ranked[int((group + 0.5) * len(ranked) / groups)] for group in range(groups)]


def _is_simple(recording: Recording) -> Mask:
    simple: Mask = _property(recording, MODULATION) > 1
    return simple


def _property(recording: Recording, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Of all units, NaN where it was not measured."""
    population = recording.experiment_of(name)
    return (
        np.full(len(recording.units), np.nan) if population is None else population.properties[name]
    )


def _rule(recording: Recording, candidates: Sequence[int], shown: int) -> str:
    if not candidates:
        return "No unit responds in every experiment."
    units = f"{count(len(candidates), 'unit')} of {len(recording.units)} "
    responds = "responds" if len(candidates) == 1 else "respond"
    if len(candidates) <= shown:
        return f"{units}{responds} in every experiment: all are shown."
    simple = int(_is_simple(recording)[list(candidates)].sum())
    kinds = f"{simple:,} simple and {len(candidates) - simple:,} complex"
    return (
        f"{units}{responds} in every experiment ({kinds}). Chosen by a rule, not by eye: each kind "
        "is ranked by peak spatial frequency and cut into equal groups, of which the middle unit "
        "is shown, simple and complex cells by turns where there are both."
    )


def _unit(layer: Recorded, unit: int, reach_deg: float) -> Unit:
    recording = layer.recording
    channel = int(recording.units[unit, 0])
    return Unit(
        f"Channel {channel}",
        "; ".join(_about(recording, unit)),
        list(_charts(layer, unit, reach_deg)),
    )


def _about(recording: Recording, unit: int) -> Iterator[str]:
    def known(name: str) -> float | None:
        value = float(_property(recording, name)[unit])
        return value if np.isfinite(value) else None

    if (ratio := known(MODULATION)) is not None:
        yield f"{'simple' if ratio > 1 else 'complex'}, F1/F0 {ratio:.2f}"
    if (preferred := known("preferred_orientation")) is not None:
        yield f"bars of {preferred % 180:.0f}°"
    if (width := known("bandwidth")) is not None:
        yield f"half-bandwidth {width:.0f}°"
    if (frequency := known(FREQUENCY)) is not None:
        yield f"peak {number(frequency)} cycles/degree"
    if (index := known("surround_suppression_index")) is not None:
        yield f"suppression index {index:.2f}"
    if (c50 := known("c50")) is not None:
        yield f"c50 {c50:.2f}" if c50 <= 1 else "does not saturate"


def _charts(layer: Recorded, unit: int, reach_deg: float) -> Iterator[Markup]:
    recording, style = layer.recording, layer.style
    yield field_chart(recording.fields, unit, reach_deg)
    if curve := _curve(recording, "orientation"):
        preferred = float(_property(recording, "preferred_orientation")[unit])
        yield polar_chart(curve, unit, preferred, style)
    if curve := _curve(recording, "spatial_frequency"):
        yield tuning_chart(curve, unit, style, Axis.log("cycles/degree", curve.x))
    if curve := _curve(recording, "size"):
        yield tuning_chart(curve, unit, style, Axis.log("diameter (degrees)", curve.x))
    if curve := _curve(recording, "contrast"):
        yield tuning_chart(curve, unit, style, Axis("contrast", 0, 1, [0, 0.5, 1]))
    if curve := _curve(recording, "phase", of="modulation"):
        phases = Axis("phase (degrees)", 0, 360, [0, 90, 180, 270, 360])
        yield tuning_chart(cycle(curve), unit, style, phases)


def _curve(recording: Recording, name: str, of: str | None = None) -> Curve | None:
    population = recording.populations.get(of or name)
    return population.curves.get(name) if population else None

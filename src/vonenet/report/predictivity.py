"""The page of `vonenet predictivity`: rows of layers that predict recorded neurons -> one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vonenet.errors import InputError
from vonenet.report.page import count, with_interval, write_html
from vonenet.report.plots import layer_style
from vonenet.results import Result, read_jsonl

R, CEILED = "pearson_r", "ceiled_pearson_r"
RSA, CEILED_RSA = "rsa_spearman", "ceiled_rsa_spearman"
METRICS = (R, CEILED, RSA, CEILED_RSA)


class Layer(NamedTuple):
    """What one layer of a model predicts of one recording."""

    label: str  # model and layer
    settings: str  # how it was measured, in words
    style: int  # number of its colour
    r: Result  # the median
    ceiled: Result | None  # over the ceiling; None where there are no repetitions
    rsa: Result | None = None  # the representational similarity
    ceiled_rsa: Result | None = None  # over its ceiling; None where there is none


class RecordedNeurons(NamedTuple):
    """One recording, and the layers that were measured on it."""

    name: str  # its file
    facts: dict[str, str]  # what there is of it and what is missing, by name
    layers: Sequence[Layer]  # the best first
    earlier: int  # rows that an earlier version of the code measured, which are not shown


def write_predictivity_report(results: Path, out: Path) -> None:
    """Write the page of every recording in a file of rows, whole or not at all.

    Raises:
        InputError: The file holds no row of predictivity, or a file cannot be read or written.
    """
    recordings = read_recordings(results)
    write_html(
        "predictivity.html",
        out,
        recordings=recordings,
        verdicts=[verdict(each) for each in recordings],
        sources=results.name,
    )


def read_recordings(results: Path) -> list[RecordedNeurons]:
    """Return the recordings that rows are about, the latest first.

    Raises:
        InputError: The file cannot be read, or holds no row of predictivity.
    """
    rows = [row for row in read_jsonl(results) if row.metric in METRICS and row.data_hash]
    if not rows:
        raise InputError(f"{results} holds no row of vonenet predictivity")
    found: dict[tuple[str, str], list[Result]] = {}
    for row in reversed(rows):
        found.setdefault((row.data, row.data_hash), []).append(row)
    return [_recording(name, own) for (name, _), own in found.items()]


def _recording(name: str, rows: Sequence[Result]) -> RecordedNeurons:
    """Put the rows of one recording together, the latest of which is the first."""
    latest = rows[0].condition["protocol"]
    layers: dict[str, dict[str, Result]] = {}
    for row in rows:
        if row.condition["protocol"] == latest:
            what = (row.model, row.model_hash, row.seed, row.preprocessing, row.condition)
            layers.setdefault(str(what), {})[row.metric] = row
    ranked = sorted(
        (each for each in layers.values() if R in each), key=lambda each: -each[R].value
    )
    return RecordedNeurons(
        name,
        facts_of(rows[0]),
        [
            Layer(
                f"{each[R].model} {each[R].condition['layer']}",
                settings_of(each[R]),
                layer_style(index),
                each[R],
                *map(each.get, (CEILED, RSA, CEILED_RSA)),
            )
            for index, each in enumerate(ranked)
        ],
        sum(row.condition["protocol"] != latest for row in rows),
    )


def facts_of(row: Result) -> dict[str, str]:
    """Return what a row says of the recording."""
    flags = row.flags
    unused = row.data_size - int(flags["images_used"])
    fewest, most = str(flags["repetitions"]).split(" to ")
    facts = {
        "images": count(row.data_size, "image")
        + (f", {unused:,} without any response left out" if unused else ""),
        "repetitions": fewest if fewest == most else f"{fewest} to {most} of a unit and an image",
        "missing": f"{float(flags['missing']):.1%} of the responses",
        "units": count(int(flags["units"]), "unit"),
        "left out": str(flags["left_out"]) or "none",
    }
    if "ceiling" in flags:
        facts["ceiling"] = "{:.3f} [{:.3f}, {:.3f}]".format(
            *(float(flags[name]) for name in ("ceiling", "ceiling_low", "ceiling_high"))
        )
    if "rsa_ceiling" in flags:
        facts["ceiling of the similarity"] = f"{float(flags['rsa_ceiling']):.3f}"
    return facts


def settings_of(row: Result) -> str:
    """Return how a layer was measured, in words."""
    how = row.condition
    noise = (
        "before noise" if how["before_noise"] else f"mean of {count(int(how['trials']), 'pass')}"
    )
    return (
        f"images of {how['image_degrees']:g} degrees on {how['degrees']:g} degrees, "
        f"{how['pixels']} px; {noise}; {how['components']} components, {how['folds']} folds, "
        f"seed {row.seed}; {row.preprocessing}; weights {row.model_hash[:8]}"
    )


def verdict(recording: RecordedNeurons) -> str:
    """Return which layer predicts the neurons best, and how well."""
    best, *others = recording.layers
    said = f"{best.label}: r {with_interval(best.r)}"
    if best.ceiled:
        said += f", {with_interval(best.ceiled)} of the ceiling"
    if not others:
        return f"{said}."
    overlap = " (the intervals overlap)" if best.r.ci_low <= others[0].r.ci_high else ""
    return f"Best: {said}. Next: {others[0].label}, r {with_interval(others[0].r)}{overlap}."

"""Writes what docs/frontends.md says of each front-end, from the presets and from rows.

python scripts/draw_frontends.py
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

from vonenet.frontends.front_end import FrontEnd
from vonenet.frontends.presets import PRESETS
from vonenet.zoo.registry import create_front_end

ROOT = Path(__file__).parents[1]
START, END = "<!-- front-ends: written by `make frontends` -->", "<!-- /front-ends -->"
PUBLISHED, OURS, V1_ALONE = "published", "ours", "V1 alone"
V1_SHOWN = ("filters", "sf_min", "sf_max", "k_exc", "normalization", "push_pull")
IMAGE_PX = 224


def main() -> None:
    """Write the part of the page between its marks."""
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "frontends.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    scores, costs = read_scores(ROOT / "results"), read_costs(ROOT / "results" / "bench")
    parts = [section(name, scores.get(name, {}), costs.get(name)) for name in PRESETS]
    text = "\n".join([START, "", overview(scores, costs), *parts, END])
    page.write_text(f"{before}{text}{after}", encoding="utf-8")


def read_scores(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return rows of `vonenet physiology --front-end NAME` by front-end and property."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            name = row.get("model")
            if name in PRESETS and row.get("metric") == "ceiled_ks_similarity":
                found.setdefault(name, {})[row["condition"]["property"]] = row
    return found


def read_costs(folder: Path) -> dict[str, str]:
    """Return what each front-end costs beside V1 alone, in words, from the rows of `make bench`."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        times: dict[str, dict[str, list[float]]] = {}
        for row in record["rows"]:
            case = row["case"]
            if case.startswith("front-end"):
                name = case.removeprefix("front-end").removeprefix("-") or "evnet2025"
                times.setdefault(name, {})[row["implementation"]] = row["seconds"]
        machine = f"{record['machine']['name']}, {record['machine']['threads']} threads"
        for name, seconds in times.items():
            found[name] = f"{_ratio(seconds, OURS, V1_ALONE)} times V1 alone"
            if PUBLISHED in seconds:
                ratio = _ratio(seconds, PUBLISHED, OURS)
                found[name] += f"; the published form takes {ratio} times as long"
            found[name] += f" ({machine}, n = {len(seconds[OURS])} rounds)"
    return found


def _ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> str:
    pairs = zip(seconds[above], seconds[below], strict=True)
    return f"{median(a / b for a, b in pairs):.2f}"


def overview(scores: Mapping[str, Mapping[str, Any]], costs: Mapping[str, str]) -> str:
    """Return the table of all front-ends."""
    lines = [
        "## All of them",
        "",
        "| name | what it is | paper | mean score |",
        "|---|---|---|---|",
    ]
    for name, preset in PRESETS.items():
        mean = scores.get(name, {}).get("mean")
        score = "not recorded" if mean is None else _score(mean)
        lines.append(f"| [`{name}`](#{name}) | {preset.summary} | {preset.paper} | {score} |")
    return "\n".join([*lines, ""])


def section(name: str, scores: Mapping[str, Any], cost: str | None) -> str:
    """Return what the page says of a front-end: drawing, scores, cost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of filters that alias, or are cut off
        front_end = create_front_end(name, image_size=IMAGE_PX).to("meta")  # for shapes alone
    lines = [f"### {name}", "", f"{PRESETS[name].summary}. {PRESETS[name].paper}.", ""]
    lines += ["```", *drawing(front_end), "```", ""]
    if scores:
        lines += ["| property | similarity over the ceiling, 95 % interval | n |", "|---|---|---|"]
        for key, row in scores.items():
            lines.append(f"| {key.replace('_', ' ')} | {_score(row)} | {row['n']} |")
        where = next(iter(scores.values()))["condition"]
        said = f"{where['pixels']} px, {where['degrees']:g} degrees, {where['units']} units"
        lines += ["", f"{said}, seed {next(iter(scores.values()))['seed']}.", ""]
    if cost:
        lines += [f"Cost: {cost}.", ""]
    return "\n".join(lines)


def drawing(front_end: FrontEnd) -> list[str]:
    """Return one line for each stage: what goes through it, and its settings below."""
    images = torch.zeros(1, front_end.stages[0].in_channels, IMAGE_PX, IMAGE_PX, device="meta")
    mean, std = front_end.normalization
    lines = [f"{'images':<14}{_shape(images)}  pixels, mean {mean:g} and std {std:g}"]
    for key, stage in front_end.named_children():
        images = stage(images)
        lines.append("  |")
        lines.append(f"{key:<14}{_shape(images)}  {type(stage).__name__}")
        lines += [f"{'  |':<14}  {line}" for line in textwrap.wrap(settings(stage), 92)]
    return lines


def settings(stage: Any) -> str:
    """Return a stage's settings; of V1 its geometry and those by which front-ends differ."""
    config = dataclasses.asdict(stage.config)
    if type(stage).__name__ != "VOneBlock":
        return ", ".join(f"{key} {value}" for key, value in config.items())
    shown = [f"{key} {config[key]}" for key in V1_SHOWN if config[key] is not None]
    noise = f"Fano factor {config['fano_factor']:g}, scale {config['noise_scale']:g}"
    geometry = re.sub(r"\s+", " ", stage.extra_repr())
    return ", ".join([geometry, noise, "rectified" if config["rectified"] else "signed", *shown])


def _shape(images: torch.Tensor) -> str:
    return f"(B, {', '.join(str(side) for side in images.shape[1:])})".ljust(18)


def _score(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"


if __name__ == "__main__":
    main()

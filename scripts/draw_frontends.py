"""Writes what docs/frontends.md says of each front-end, from the presets and from rows.

python scripts/draw_frontends.py build/frontends    # takes curves from its recordings first
python scripts/draw_frontends.py                    # from results/ as it is
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from vonenet.frontends.presets import PRESETS
from vonenet.physiology import scores
from vonenet.physiology.recording import Array, Recording, as_numbers, read_recording
from vonenet.report.page import MINUS, inline_svg
from vonenet.report.physiology import CEILED, MEAN, UNITS, name_of
from vonenet.report.plots import COLORS, empty_figure, house_style, logarithmic, series_style
from vonenet.results import model_hash
from vonenet.zoo.loading import load_front_end

ROOT = Path(__file__).parents[1]
START, END = "<!-- front-ends: written by `make frontends` -->", "<!-- /front-ends -->"
OURS, DEFAULT = "ours", "vonenet"
TIMES = f"{{:.2f}} times `{DEFAULT}`"
RATIOS = (
    (TIMES, OURS, DEFAULT),
    ("{:.2f} times its V1 alone", OURS, "V1 alone"),
    ("the published form takes {:.2f} times as long", "published", OURS),
)
V1_SHOWN = ("filters", "sf_min", "sf_max", "k_exc", "normalization", "push_pull", "trainable")
IMAGE_PX, PICTURE = 224, "images/frontends/{}.svg"  # of the drawings; seen from the page
# Columns of the table of all, and further lines of the tables of each
COLUMNS = ("strongly_suppressed", "circular_variance", "orth_pref_ratio")
NAMES = ("suppressed", "circular variance", "orthogonal / preferred")
HEAD = ("front-end", "mean score", *NAMES, f"time / `{DEFAULT}`")
UNSCORED = ("c50", "cross_orientation_suppression", "fano_factor")
# What the panels of a figure show, the names of their axes and the numbers along them
PANELS: dict[str, tuple[str, Sequence[float]]] = {
    "orientation": ("degrees from the best", (-90, 0, 90)),
    "spatial_frequency": ("octaves from the best", (-3, -2, -1, 0, 1, 2)),
    "size": ("diameter (degrees)", ()),
    "contrast": ("contrast", (0, 0.5, 1)),
    "orthogonal_mask": ("contrast of the mask", (0, 0.25, 0.5)),
}
SVG_STYLE = f"background: {COLORS['paper']}; font-family: sans-serif"
Row = dict[str, Any]
Rows = Mapping[tuple[str, str], Row]  # of a front-end, by property and metric


def main() -> None:
    """Write the curves of recordings, if their folder is given; then figures and page from rows."""
    warnings.simplefilter("ignore")  # of filters that alias, or are cut off
    results = ROOT / "results"
    if sys.argv[1:]:
        paths = sorted(Path(sys.argv[1]).glob("*.npz"), key=lambda path: path.stat().st_mtime)
        rows = [row for path in paths for row in curve_rows(read_recording(path))]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)  # of a model the last ones count
        (results / "frontends" / "curves.jsonl").write_text(text, encoding="utf-8")
    write_page(ROOT / "docs", results)


def curve_rows(recording: Recording) -> list[Row]:
    """Return quartiles over units of each curve of the figures, where enough units respond."""
    rows = []
    for name in PANELS:
        x, rates = curve_of(recording, name)
        if len(rates) >= scores.LEAST_UNITS:
            known = (np.isfinite(rates).mean(axis=0) >= 0.5) & (np.abs(x) <= 90)  # half of a turn
            quartiles = np.nanquantile(rates[:, known], (0.25, 0.5, 0.75), axis=0)
            row: Row = {"model": recording.model, "model_hash": recording.model_hash}
            row |= {"condition": {"property": name, **recording.settings}, "metric": "tuning"}
            row |= {"n": len(rates), "seed": recording.settings["seed"], "flags": {}}
            row |= {"x": x[known].round(3).tolist(), "quartiles": quartiles.round(4).tolist()}
            rows.append(row)
    return rows


def curve_of(recording: Recording, name: str) -> tuple[Array, Array]:
    """Return (n,) places and (units, n) responses over the largest, some about a unit's best."""
    if name == "orthogonal_mask":
        left = 1 - recording.values("cross_orientation_suppression")
        return as_numbers([0, 0.5]), left[np.isfinite(left), None] ** [0, 1]
    population = recording.populations[name]
    x, n = population.curves[name].x, len(population.curves[name].x)
    rates = population.curves[name].rates[population.responsive].astype(np.float64)
    rates /= rates.max(axis=1, keepdims=True)
    if name not in ("orientation", "spatial_frequency"):
        return x, rates
    goes_round = name == "orientation"
    beyond: dict[str, Any] = {"mode": "wrap"} if goes_round else {"constant_values": np.nan}
    steps, step = np.arange(1 - n, n), 180 / n if goes_round else np.log2(x[1] / x[0])
    places = rates.argmax(axis=1)[:, None] + n + steps
    padded = np.pad(rates, ((0, 0), (n, n)), **beyond)
    return as_numbers(step * steps), np.take_along_axis(padded, places, axis=1)


def read_rows(folder: Path) -> Mapping[str, Rows]:
    """Return rows of front-ends as they are now; not those that compare with what was built in."""
    found: dict[str, dict[tuple[str, str], Row]] = {}
    hashes = {name: model_hash(load_front_end(name).model) for name in PRESETS}
    for path in sorted(folder.glob("*.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if row["model_hash"] == hashes.get(row["model"]) and "holds" not in row["flags"]:
                key = row["condition"]["property"], row["metric"]
                found.setdefault(row["model"], {})[key] = row
    return found


def write_page(docs: Path, results: Path) -> None:
    """Draw the figures, and write the part of the page between its marks."""
    found, costs = read_rows(results / "frontends"), read_costs(results / "bench")
    parts, page = [overview(found, costs)], docs / "frontends.md"
    (docs / "images" / "frontends").mkdir(parents=True, exist_ok=True)
    for name in PRESETS:
        parts.append(section(name, found.get(name, {}), costs[name][1]))
        if name in found:
            draw(found[name], docs / PICTURE.format(name))
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    text = "\n".join([START, "", *parts, END])
    page.write_text(f"{before}{text}{rest.partition(END)[2]}", encoding="utf-8")


@house_style()
def draw(rows: Rows, path: Path) -> None:
    """Draw the median and the middle half of units of each curve."""
    figure, color = empty_figure(480, 292), series_style(1)["color"]
    figure.text(0.72, 0.25, "line: median of units\nband: middle half", va="center")
    for place, (name, (below, ticks)) in enumerate(PANELS.items()):
        size = place % 3 / 3 + 0.055, (1 - place // 3) / 2 + 0.137, 0.255, 0.288
        axes = figure.add_axes(size, ylim=(0, 1.05), xlabel=below, yticks=[0, 0.5, 1])
        row = rows.get((name, "tuning"))
        axes.set_title(name.replace("_", " ") if row else "too few units", color=COLORS["ink"])
        if row:
            x, (low, middle, high) = row["x"], row["quartiles"]
            axes.fill_between(x, low, high, color=color, alpha=0.25, lw=0)
            axes.plot(x, middle, color=color)
            axes.set(xticks=ticks, xlim=((ticks or x)[0], (ticks or x)[-1]))
        if name == "size":
            logarithmic(axes.xaxis)
    svg = re.sub(r"var\(--(\w+)\)", lambda name: COLORS[name[1]], inline_svg(figure, path.stem))
    own = f'<svg xmlns="http://www.w3.org/2000/svg" style="{SVG_STYLE}" '
    path.write_text(svg.replace("<svg ", own, 1) + "\n", encoding="utf-8")


def read_costs(folder: Path) -> dict[str, tuple[str, str]]:
    """Return each front-end's time over that of `vonenet`, and its cost in words, newest rows."""
    found = dict.fromkeys(PRESETS, ("", ""))
    cases: dict[tuple[str, ...], dict[str, list[float]]] = {}  # by run, name and the rest
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        machine = f"{record['machine']['name']}, {record['machine']['threads']} threads"
        for row in record["rows"]:
            if row["case"].startswith("front-end"):
                name = row["case"].removeprefix("front-end").removeprefix("-") or "evnet2025"
                key = row["run"], name, f"{row['batch']} images", machine
                cases.setdefault(key, {})[row["implementation"]] = row["seconds"]
    for (_, name, images, machine), seconds in sorted(cases.items()):
        ratios = {
            form: median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
            for form, above, below in RATIOS
            if {above, below} <= seconds.keys()
        }
        time = f"{1e3 * median(seconds[OURS]):.0f} ms for {images}"
        words = ", ".join([time, *(form.format(ratio) for form, ratio in ratios.items())])
        short = "1" if name == DEFAULT else f"{ratios[TIMES]:.2f}" if TIMES in ratios else ""
        found[name] = short, f"{words} ({machine}, {len(seconds[OURS])} rounds)"
    return found


def overview(found: Mapping[str, Rows], costs: Mapping[str, Any]) -> str:
    """Return the table of all front-ends, below what is published of V1."""
    lines = ["## All of them", "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    cells = [_of_v1(scores.PUBLISHED[each]) for each in COLUMNS]
    lines.append(f"| V1 of macaques |  | {' | '.join(cells)} |  |")
    for name, preset in PRESETS.items():
        rows = found.get(name, {})
        paper = " ".join(re.findall(r"^\w+|(?<= )\d{4}\b", preset.paper)[:2])  # first author, year
        about = (
            f"[<code>{name.replace('_', '_<wbr>')}</code>](#{name})<br>{preset.summary} ({paper})"
        )
        mean = _score(rows[MEAN, CEILED]) if rows else "not recorded"
        cells = [about, mean, *(_typical(rows, each) for each in COLUMNS), costs[name][0]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _of_v1(published: Any) -> str:
    """Return the share of published cells, or their median, interpolated within its bin."""
    middle = np.interp(0.5, [0, *np.cumsum(published.shares)], published.edges)
    return f"{published.shares[1]:.0%}" if published.name in scores.SHARES else f"{middle:.2f}"


def _typical(rows: Rows, name: str) -> str:
    """Return the share of units with a property, or its median; "" if there is none."""
    if row := rows.get((name, "share")):
        return f"{row['value']:.0%}"
    row = rows.get((name, "median"))
    if row is None or name == "preferred_orientation":  # whose median means nothing
        return ""
    if name == "c50" and row["value"] > 1:
        return "above 1"  # it does not saturate
    value = round(row["value"], 3) + 0.0  # not -0
    return (f"{value:#.2g}" if abs(value) < 10 else f"{value:.0f}").replace("-", MINUS)


def section(name: str, rows: Rows, cost: str) -> str:
    """Return what the page says of a front-end: drawing, tuning, cost, scores."""
    front_end = load_front_end(name).model.model.to("meta")  # for shapes alone
    lines = [f"### {name}", "", f"{PRESETS[name].summary}. {PRESETS[name].paper}.", ""]
    lines += ["```", *drawing(front_end), "```", ""]
    lines += [f"Cost: {cost or 'not measured'}.", ""]
    if not rows:
        return "\n".join(lines)
    lines += [f"![Tuning of {name}]({PICTURE.format(name)})", ""]
    lines += ["| property | median or share | score | n |", "|---|---|---|---|"]
    for key in (MEAN, *scores.PUBLISHED, *UNSCORED):
        unit = UNITS[scores.PUBLISHED[key].unit] if key in scores.PUBLISHED else ""
        scored = rows.get((key, CEILED))
        if row := scored or rows.get((key, "median")):
            score = _score(scored) if scored else ""
            cells = name_of(key) + unit, _typical(rows, key), score, str(row["n"])
            lines.append(f"| {' | '.join(cells)} |")
    row = next(iter(rows.values()))
    where = row["condition"]
    said = f"{where['pixels']} px, {where['degrees']:g} degrees, {where['units']} units"
    return "\n".join([*lines, "", f"{said}, seed {row['seed']}.", ""])


def drawing(front_end: Any) -> list[str]:
    """Return one line for each stage: what goes through it, and its settings below."""
    images = torch.zeros(1, front_end.stages[0].in_channels, IMAGE_PX, IMAGE_PX, device="meta")
    mean, std = front_end.normalization
    lines = [f"{'images':<14}{_shape(images)}  pixels, mean {mean:g} and std {std:g}"]
    for key, stage in front_end.named_children():
        images = stage(images)
        lines.append("  |")
        lines.append(f"{key:<14}{_shape(images)}  {type(stage).__name__}")
        lines += [f"{'  |':<14}  {line}" for line in textwrap.wrap(settings(stage), 76)]
    return lines


def settings(stage: Any) -> str:
    """Return a stage's settings; of V1 its geometry and those by which front-ends differ."""
    config = dataclasses.asdict(stage.config)
    if type(stage).__name__ != "VOneBlock":
        return ", ".join(f"{key} {value}" for key, value in config.items())
    for part in ("normalization", "push_pull"):
        own = {key: value for key, value in (config[part] or {}).items() if value is not None}
        config[part] = own and f"({', '.join(f'{key} {value}' for key, value in own.items())})"
    config["trainable"] = config["trainable"] or None
    shown = [f"{key} {config[key]}" for key in V1_SHOWN if config[key] not in (None, {})]
    noise = f"Fano factor {config['fano_factor']:g}, scale {config['noise_scale']:g}"
    geometry = re.sub(r"\s+", " ", stage.extra_repr())
    return ", ".join([geometry, noise, "rectified" if config["rectified"] else "signed", *shown])


def _shape(images: torch.Tensor) -> str:
    return f"(B, {', '.join(str(side) for side in images.shape[1:])})".ljust(18)


def _score(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.2f} ({row['ci_low']:.2f}&nbsp;to&nbsp;{row['ci_high']:.2f})"


if __name__ == "__main__":
    main()

"""Results files -> the page docs/performance.md and one figure per machine."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from benchmarks import cases as c
from benchmarks.measure import COPY_MIB, MOST_ROUNDS, Row, machine_title, quartiles, slug
from vonenet.errors import InputError
from vonenet.files import write_whole

SIZES = ("image_px", "batch", "cells", "samples")
NOTES, NOTES_END = "<!-- notes -->", "<!-- /notes -->"
# Okabe and Ito's colours, which colour-blind readers can tell apart
LINES = {
    c.PUBLISHED: ("#D55E00", "o-", "published formula"),
    c.NO_SUBNORMALS: ("#E69F00", "s--", "published formula, no subnormal numbers"),
    c.OURS: ("#0072B2", "o-", "this package"),
    c.LOWER_BOUND: ("#555555", ":", "lower bound"),
}
AXES = {
    "image_px": "image side, px (batch 8; 2 from 320 px)",
    "batch": "images in a batch (224 px)",
    "cells": "V1 cells per position, half simple, half complex (224 px, batch 8)",
    "samples": "noise samples per image (224 px, batch 8)",
}
HEAD = """# Performance

Speed and memory of the V1 block and of networks with it, beside the published formula, torchvision
and a lower bound. `make bench` measures the machine that it runs on, adds it to `results/bench/`
and writes this page again, except for the notes between their marks.

## Goals

Ratios of times, with quartiles; one column per machine. The goals are for CPUs and float32.
"""
HOW = f"""## How it is measured

All implementations of a case run in one process. In a round each is called once, and every round
begins with another one; at most {MOST_ROUNDS} rounds, after a warm-up. Times are medians with
quartiles; a ratio is the median of the rounds' own ratios. Images and weights are random. On a GPU
there are 16 times as many images, in bfloat16 by autocast, channels last. On the CPU the process
keeps memory that was freed, for all implementations alike, as `vonenet demo` does
(`vonenet.v1.memory.keep_freed_memory`); the earlier code was measured without.

- **published**: the V1 block by its published formula, written plainly (`benchmarks/published.py`).
  Some of its weights make subnormal numbers, which slow some processors down; **no subnormals**:
  the same with 0 for weights below 1e-30. For several noise samples one pass is timed, and counted
  as often as there are samples.
- **ours**: what `vonenet.create_model` and `vonenet.VOneBlock` give.
- **bare steps**, **bare decoding**: steps on one batch that is ready; decoding of the same files.
- **lower bound** (roofline): operations / matrix rate + bytes / bandwidth. The operations are those
  of the filters as direct convolutions, each filter once and on its one colour, and those of
  bottleneck and back-end as PyTorch counts them. The bytes are images, responses of a block,
  weights, in training also momentum, and gradients that are asked for: nothing in between, and no
  random numbers. A method with fewer operations than direct convolution can be faster.
- **memory**: the most that torch's allocator held during a call, above what it held before.
"""
Spread = tuple[float, float, float]
Record = dict[str, Any]  # a results file


def write_page(path: Path, records: Sequence[Record]) -> None:
    """Write the page, and a figure per machine in `images/` beside it; keep the notes.

    Raises:
        InputError: the page has only one of the notes marks, or a file cannot be written.
    """
    notes = kept_notes(path)
    (path.parent / "images").mkdir(parents=True, exist_ok=True)
    for record in filter(curves, records):
        write_whole(path.parent / "images" / f"bench-{slug(record['machine'])}.svg", draw(record))
    parts = [HEAD, goal_table(records), f"{NOTES}{notes}{NOTES_END}\n", HOW, *map(section, records)]
    write_whole(path, "\n".join(parts).encode())


def kept_notes(path: Path) -> str:
    """Read what stands between the notes marks of a page; empty if there is no page or no mark.

    Raises:
        InputError: one mark without the other.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, start, rest = text.partition(NOTES)
    notes, end, _ = rest.partition(NOTES_END)
    if bool(start) != bool(end) or NOTES_END in before:
        raise InputError(f"{path} must hold both {NOTES} and {NOTES_END}, in this order")
    return notes or "\n\n"


def goal_table(records: Sequence[Record]) -> str:
    """Write the goals, one column per machine."""
    lines = [["case", "ratio", "goal", "at least"]]
    for record in records:
        runs = "<br>".join(_run(run) for run in record["runs"].values())
        lines[0].append(f"{machine_title(record['machine'])}<br>{runs}")
    for goal in c.GOALS:
        sign = "≥" if goal.aim > goal.at_least else "≤"
        title = f"{c.CASES[goal.case].title}, {_goal_size(goal)}"
        limits = [f"{sign} {goal.aim:g}", f"{sign} {goal.at_least:g}"]
        cells = [_goal_cell(record, goal) for record in records]
        lines.append([title, f"{goal.above} / {goal.below}", *limits, *cells])
    return _table(lines)


def _goal_cell(record: Record, goal: c.Goal) -> str:
    rows = {row["implementation"]: row for row in record["rows"] if row["case"] == goal.case}
    times = {name: row["seconds"] for name, row in rows.items()}
    if c.OURS in rows and (bound := rows[c.OURS]["lower_bound_s"]):
        times[c.LOWER_BOUND] = [sum(bound)] * len(times[c.OURS])
    layouts = [times[name] for name in (c.TORCHVISION, c.CHANNELS_LAST) if name in times]
    times[c.FASTER_TORCHVISION] = min(layouts, key=lambda each: quartiles(each)[1], default=[])
    if not (times.get(goal.above) and times.get(goal.below)):
        return "not measured"
    ratio, row, size = _ratio(times[goal.above], times[goal.below]), rows[c.OURS], _goal_size(goal)
    measured, run = f"{row['batch']} x {row['image_px']} px", record["runs"][row["run"]]
    same = measured == size and record["machine"]["kind"] == "cpu"
    date = f" ({run['date']})" if len(record["runs"]) > 1 else ""
    return f"{_spread(ratio)}, {goal.verdict(ratio[1]) if same else f'at {measured}'}{date}"


def _goal_size(goal: c.Goal) -> str:
    size = c.CASES[goal.case].sizes[0]
    return f"{size.batch} x {size.image_px} px"


def section(record: Record) -> str:
    """Write what was measured on one machine."""
    machine, title = record["machine"], machine_title(record["machine"])
    lines = [
        f"## {title}\n\n- threads: {machine['threads']}, cores: {machine['cores']}"
        f"{', virtual machine' if machine['virtual'] else ''}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}"
    ]
    for run in record["runs"].values():
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        rates = ", ".join(f"{rate / 1e9:.0f} by {by}" for by, rate in run["matrix_rates"].items())
        lines.append(
            f"- run of {_run(run)}: {versions}; seed {run['seed']}; {run['dtype']}; matrix rate, "
            f"10⁹ operations/s: {rates}; bandwidth of a copy of {COPY_MIB} MiB, read and written: "
            f"{run['bandwidth'] / 1e9:.1f} GB/s"
        )
    if curves(record):
        lines.append(f"\n![Time per image of the V1 block](images/bench-{slug(machine)}.svg)")
    lines.append("")
    order = list(dict.fromkeys([*c.CASES, *(row["case"] for row in record["rows"])]))
    rows = sorted(record["rows"], key=lambda row: order.index(row["case"]))
    for _, group in itertools.groupby(rows, key=lambda row: row["case"]):
        lines.append(_case_table(record, list(group)))
    return "\n".join(lines)


def _case_table(record: Record, rows: Sequence[Row]) -> str:
    """Write one case of one machine: sizes, and the implementations of each."""
    lines = [["image, px", "batch", "cells", "samples", "implementation", "time, ms"]]
    lines[0] += ["time / ours", "time / lower bound", "memory, MB", "rounds"]
    sizes = itertools.groupby(rows, lambda row: [str(row[name]) for name in SIZES])
    for size, group in sizes:
        same_size = list(group)
        ours = next(row["seconds"] for row in same_size if row["implementation"] == c.OURS)
        bound = same_size[0]["lower_bound_s"]
        for row in same_size:
            cells = [""] * 3
            if seconds := row["seconds"]:
                to_bound = _digits(quartiles(seconds)[1] / sum(bound)) if bound else ""
                cells = [_spread(quartiles(seconds), 1e3), _spread(_ratio(seconds, ours)), to_bound]
            memory = "" if row["peak_bytes"] is None else _digits(row["peak_bytes"] / 1e6)
            lines.append([*size, row["implementation"], *cells, memory, str(len(seconds))])
        if bound:
            time = " + ".join(_digits(1e3 * seconds) for seconds in bound)
            lines.append([*size, c.LOWER_BOUND, f"{time} (operations + bytes)", *[""] * 4])
    key, run = rows[0]["case"], record["runs"][rows[0]["run"]]
    title = c.CASES[key].title if key in c.CASES else key
    return f"### {title}\n\nRun of {_run(run)}.\n\n{_table(lines)}"


def curves(record: Record) -> list[str]:
    """List the measured cases that a curve is drawn of."""
    measured = {row["case"] for row in record["rows"]}
    return [key for key, case in c.CASES.items() if case.varied and key in measured]


def draw(record: Record) -> bytes:
    """Draw the time per image against size, batch, cells and noise samples, as an SVG."""
    figure = Figure(figsize=(11, 8), layout="constrained", facecolor="white")
    for number, key in enumerate(curves(record), start=1):
        axes, varied = figure.add_subplot(2, 2, number), c.CASES[key].varied
        points: dict[str, list[tuple[float, float]]] = {name: [] for name in LINES}
        rows = [row for row in record["rows"] if row["case"] == key]
        for row in rows:
            x, ms = row[varied], 1e3 / row["batch"]
            points[row["implementation"]].append((x, ms * quartiles(row["seconds"])[1]))
            if row["implementation"] == c.OURS and row["lower_bound_s"]:
                points[c.LOWER_BOUND].append((x, ms * sum(row["lower_bound_s"])))
        for name, (color, style, label) in LINES.items():
            x_and_y = zip(*points[name], strict=True)
            axes.plot(*x_and_y, style, color=color, label=label, markersize=4)
        ticks = sorted({row[varied] for row in rows})
        axes.set(xscale="log", yscale="log", xlabel=AXES[varied], ylabel="time per image, ms")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    names = dict.fromkeys(row["run"] for row in record["rows"] if row["case"] in curves(record))
    runs = "; ".join(_run(record["runs"][name]) for name in names)
    figure.suptitle(f"V1 block with noise on {machine_title(record['machine'])}, {runs}")
    target = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "vonenet"}):  # the same bytes from the same numbers
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()


def _run(run: dict[str, str]) -> str:
    note = f", {run['note']}" if run["note"] else ""
    return f"{run['date']}, vonenet {run['commit']}{note}"


def _ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    return quartiles([a / b for a, b in zip(above, below, strict=True)])


def _spread(values: Spread, scale: float = 1) -> str:
    """Write median and quartiles, such as `12.3 (12.1 to 12.9)`."""
    low, median, high = (_digits(scale * value) for value in values)
    return median if low == high else f"{median} ({low} to {high})"


def _digits(value: float) -> str:
    """Write three significant digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _table(lines: Sequence[Sequence[str]]) -> str:
    header, *body = lines
    return "".join(f"| {' | '.join(each)} |\n" for each in [header, ["---"] * len(header), *body])

"""Records of the benchmark -> the page docs/performance.md and its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vonenet.benchmarks.figure import draw
from vonenet.benchmarks.machine import COPY_BYTES
from vonenet.benchmarks.measure import MAX_ROUNDS, MIN_ROUNDS
from vonenet.benchmarks.record import TIME, Goal, Measurement, Record
from vonenet.benchmarks.robustness_tasks import ART, FOOLBOX, IMAGECORRUPTIONS, TORCHATTACKS
from vonenet.benchmarks.tasks import BASE, BASE_CHANNELS_LAST, OURS, PUBLISHED
from vonenet.benchmarks.training_tasks import BARE_DECODING, BARE_STEPS
from vonenet.benchmarks.words import digits, seconds_in_words, spread_in_words
from vonenet.errors import InputError

OTHERS = (TORCHATTACKS, FOOLBOX, ART, IMAGECORRUPTIONS, BARE_STEPS, BARE_DECODING)
NOTES_START, NOTES_END = "<!-- notes -->", "<!-- /notes -->"
PICTURES = {"cpu": "performance.png", "cuda": "performance-cuda.png"}
NAMES = {
    PUBLISHED: "published",
    OURS: "ours",
    BASE: "torchvision",
    BASE_CHANNELS_LAST: "torchvision, channels last",
} | {name: name for name in OTHERS}
GOALS_ARE = {
    "cpu": "The goals were set for 2 cores, in float32.",
    "cuda": "The goal is a share of ResNet-50's training throughput, as torchvision's time / ours.",
}
GOAL_HEADER = ("case", "ratio", "measured (quartiles)", "goal", "at least", "reached")

Row = Sequence[str]

HOW = f"""## How it is measured

All contestants of a case run in one process and take turns, one call each per round, every round
beginning with another; {MIN_ROUNDS} to {MAX_ROUNDS} rounds, after two calls that are not counted.
Times are medians with quartiles in parentheses; a ratio is the median of the rounds' own ratios.
Inputs and weights are random, from the seed named above; the process is an ordinary one, with no
setting of the memory allocator.

- **published**: the V1 block as published (two dense convolutions of all filters on all colours,
  noise in whole-tensor steps), written plainly, before the same bottleneck and back-end
  (`src/vonenet/benchmarks/published.py`). It works in place where no gradient is recorded.
- **ours**: what `vonenet.create_model` and `vonenet.VOneBlock` give.
- **torchvision**: its own network of that name; below 128 px the same with its first stage at
  stride 2, as ours has it. "Channels last" is the same network and images in that memory format,
  in which CPUs are often faster.
- **floor**: operations / matrix rate + bytes / bandwidth, both rates measured just before. The
  operations are those of the filters as convolutions, each filter once and on its one colour (a
  quarter of the published ones), and those of bottleneck and back-end as PyTorch counts them. The
  bytes are those that must enter or leave: images, responses of a V1 block, weights (in training
  also momentum, each read and written), gradients where they are asked for. Nothing in between,
  and no random number. It is the floor of the VOneNet: torchvision's network has less to do.
- **memory**: the most that torch's allocator held during a call, above what it held before it
  (weights, momentum, images). On the CPU each allocation is recorded by torch's profiler, on a GPU
  it is `torch.cuda.max_memory_allocated`.
"""


def write_page(path: Path, records: Sequence[Record]) -> None:
    """Write the page, and a picture for each record into `images/` beside it.

    What stands between the page's two notes marks is kept.

    Args:
        path: the page.
        records: at most one of each kind of machine.

    Raises:
        InputError: an existing page that has only one of the marks.
    """
    notes = kept_notes(path)
    (path.parent / "images").mkdir(parents=True, exist_ok=True)
    for record in records:
        draw(record, path.parent / "images" / PICTURES[record.machine.kind])
    path.write_text(page(records, notes), encoding="utf-8")


def kept_notes(path: Path) -> str:
    """What stands between the notes marks of an existing page; empty lines where there is none.

    Raises:
        InputError: one mark without the other.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, start, rest = text.partition(NOTES_START)
    notes, end, _ = rest.partition(NOTES_END)
    if not start and NOTES_END not in before:
        return "\n\n"
    if not end:
        raise InputError(f"{path} must hold both {NOTES_START} and {NOTES_END}, in this order")
    return notes


def page(records: Sequence[Record], notes: str = "\n\n") -> str:
    """The page in Markdown."""
    parts = [
        "# Performance\n",
        "Speed and memory of the V1 block and of the networks behind it, beside the published\n"
        "formula, torchvision's networks and the machine's own limits. `make bench` writes this\n"
        "page anew, but for the part between its notes marks, which is written by hand.\n",
    ]
    parts += [_summary(record) for record in records]
    if not any(record.machine.kind == "cuda" for record in records):
        parts.append(
            "## GPU\n\nThe GPU rows are not yet measured: no GPU was at hand.\n"
            "`vonenet bench --device cuda` measures the same cases in bfloat16 autocast with\n"
            "channels last, at batch 128.\n"
        )
    parts.append(f"{NOTES_START}{notes}{NOTES_END}\n")
    parts.append(HOW)
    parts += [_details(record) for record in records]
    return "\n".join(parts)


def goal_table(record: Record) -> str:
    """The goals and what was measured, as aligned text."""
    return _aligned([GOAL_HEADER, *_goal_rows(record)])


def time_table(record: Record) -> str:
    """Median time of every case and contestant, and the floor, as aligned text."""
    kinds = (
        [each for each in record.measurements if bool(each.floor) is has] for has in (True, False)
    )
    return "\n\n".join(_aligned(_time_rows(record, cases)) for cases in kinds if cases)


def _time_rows(record: Record, cases: Sequence[Measurement]) -> list[Row]:
    names = [name for name in NAMES if any(name in case.seconds for case in cases)]
    rows: list[Row] = [
        ["case", *(NAMES[name] for name in names), *(["floor"] if cases[0].floor else [])]
    ]
    for case in cases:
        spreads = (case.spread(name) for name in names)
        row = [_case_in_words(case), *(seconds_in_words(s.median) if s else "" for s in spreads)]
        if floor := record.floor_seconds(case):
            row.append(seconds_in_words(sum(floor)))
        rows.append(row)
    return rows


def machine_in_words(record: Record) -> str:
    """The machine, its rates and the run, line by line."""
    machine = record.machine
    rates = ", ".join(f"{rate / 1e9:.0f} by {what}" for what, rate in machine.matrix_rates.items())
    versions = ", ".join(f"{name} {number}" for name, number in sorted(machine.versions.items()))
    precision = "bfloat16 autocast, channels last" if machine.kind == "cuda" else "float32"
    return "\n".join(
        (
            f"- machine: {machine.name}; {machine.threads} threads in use, "
            f"{machine.memory_bytes / 2**30:.0f} GiB, {machine.system}",
            f"- versions: {versions}",
            f"- run: {record.date}, seed {record.seed}, {precision}",
            f"- matrix rate, {machine.precision}, 10⁹ operations/s: {rates}; the larger one counts",
            f"- bandwidth: {machine.bandwidth / 1e9:.1f} GB/s, reads and writes of "
            f"a copy of {COPY_BYTES // 2**20} MiB",
        )
    )


def _summary(record: Record) -> str:
    """The machine, its goals and its picture."""
    kind = record.machine.kind
    return (
        f"## {_device(record)}\n\n{machine_in_words(record)}\n\n{GOALS_ARE[kind]}\n\n"
        f"{_markdown([GOAL_HEADER, *_goal_rows(record)])}\n"
        f"![Times of every contestant, case by case](images/{PICTURES[kind]})\n"
    )


def _device(record: Record) -> str:
    return {"cpu": "CPU", "cuda": "GPU"}[record.machine.kind]


def _goal_rows(record: Record) -> Iterator[Row]:
    for measurement in record.measurements:
        for goal in measurement.goals:
            ratio = measurement.ratio(goal.quantity, goal.numerator, goal.denominator)
            if ratio is not None:
                yield (
                    _case_in_words(measurement),
                    f"{goal.quantity}, {NAMES[goal.numerator]} / {NAMES[goal.denominator]}",
                    spread_in_words(ratio),
                    _bound(goal, goal.goal),
                    _bound(goal, goal.at_least),
                    goal.reached(ratio.median),
                )


def _bound(goal: Goal, value: float | None) -> str:
    return "" if value is None else f"{'≥' if goal.more_is_better else '≤'} {value:g}"


def _details(record: Record) -> str:
    """Every measurement, a table for each task."""
    parts = [f"## Every measurement: {_device(record)}\n"]
    for task in dict.fromkeys(each.task for each in record.measurements):
        cases = [each for each in record.measurements if each.task == task]
        cases.sort(key=lambda each: (each.image_px, each.batch))
        parts.append(f"### {task}\n\n{cases[0].explanation}\n\n{_task_table(record, cases)}")
    return "\n".join(parts)


def _task_table(record: Record, cases: Sequence[Measurement]) -> str:
    names = [name for name in NAMES if name in cases[0].peak_bytes]
    labels = [NAMES[name] for name in names]
    header = ["image", "batch", *(f"{label}, ms" for label in labels)]
    if cases[0].floor:
        header += ["published / ours", "floor, ms (operations + bytes)", "ours / floor"]
    rows = [_task_row(record, each, names) for each in cases]
    return _markdown([[*header, f"memory, MB: {' / '.join(labels)}"], *rows])


def _task_row(record: Record, case: Measurement, names: Sequence[str]) -> Row:
    times = {name: case.spread(name) for name in names}
    return [
        f"{case.image_px} px",
        str(case.batch),
        *(spread_in_words(time, 1e3) if time else "" for time in times.values()),
        *_beside_the_floor(record, case),
        " / ".join(digits(case.peak_bytes[name] / 1e6) for name in names),
    ]


def _beside_the_floor(record: Record, case: Measurement) -> Row:
    """Published / ours, the floor, ours / floor; nothing where there is no floor."""
    seconds = record.floor_seconds(case)
    if seconds is None:
        return []
    ours, gain = case.spread(OURS), case.ratio(TIME, PUBLISHED, OURS)
    operations, moved = seconds
    return [
        spread_in_words(gain) if gain else "",
        f"{digits(1e3 * operations)} + {digits(1e3 * moved)}",
        digits(ours.median / (operations + moved)) if ours else "",
    ]


def _markdown(rows: Iterable[Row]) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _aligned(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _case_in_words(case: Measurement) -> str:
    return f"{case.task}, {case.batch} x {case.image_px} px"

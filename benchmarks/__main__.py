"""Measure this machine and write the page: `python -m benchmarks`, from the repository's root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from tqdm import tqdm

from benchmarks import measure
from benchmarks.cases import CASES, Size, sizes_of
from benchmarks.page import SIZES, kept_notes, write_page
from vonenet.data.pixels import chosen_device
from vonenet.data.seeding import seeded
from vonenet.errors import InputError
from vonenet.v1.memory import keep_freed_memory

SEED, BUDGET_S, QUICK = 0, 4.0, Path("build/bench")


def bench(
    device: Literal["cpu", "cuda"] = "cpu",
    out: Path | None = None,
    results: Path | None = None,
    only: str = "",
    quick: bool = False,
    page_only: bool = False,
) -> None:
    """Measure speed and memory beside the published formula, torchvision and a lower bound.

    Args:
        device: where to measure.
        out: the page, with figures in images/ beside it; docs/performance.md if not given.
        results: folder with one JSON file per machine; results/bench if not given.
        only: cases to measure, separated by commas; all if not given.
        quick: tiny sizes and two rounds, for tests; without --out and --results, into build/bench.
        page_only: write the page again from the results, without measuring.
    """
    out = out or (QUICK / "performance.md" if quick else Path("docs/performance.md"))
    results = results or (QUICK if quick else Path("results/bench"))
    keys = only.split(",") if only else list(CASES)
    if unknown := set(keys) - set(CASES):
        raise InputError(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    kept_notes(out)  # a page that cannot be written is reported before minutes of measuring
    if not page_only:
        _measure(keys, chosen_device(device), results, quick)
    records = [measure.read_results(path) for path in sorted(results.glob("*.json"))]
    if not records:
        raise InputError(f"{results} holds no results")
    write_page(out, records)
    print(f"written: {out}")


def _measure(keys: list[str], device: torch.device, folder: Path, quick: bool) -> None:
    """Measure cases on this machine, and write its results file after each."""
    results: dict[str, Any] = {"machine": measure.this_machine(device), "runs": {}, "rows": []}
    path = folder / f"{measure.slug(results['machine'])}.json"
    results = measure.read_results(path) if path.exists() else results
    plan = {key: sizes_of(CASES[key], device, quick=quick) for key in keys}
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with seeded(SEED, device), mixed, tqdm(total=sum(map(len, plan.values())), unit="size") as bar:
        run = measure.this_run(device, seed=SEED, budget_s=0.01 if quick else 1)
        run["note"] = "tiny sizes, for tests" if quick else ""
        name = datetime.now(UTC).isoformat(timespec="seconds")
        for key, sizes in plan.items():
            rows = []
            for size in sizes:
                bar.set_description(f"{key}, {size.batch} x {size.image_px} px")
                rows += [{"case": key, "run": name, **row} for row in _rows(key, size, run, quick)]
                bar.update()
            measure.add_rows(results, name, run, rows)
            measure.write_results(folder, results)


def _rows(key: str, size: Size, run: dict[str, Any], quick: bool) -> Iterator[measure.Row]:
    """Measure all implementations of a case at one size: warm-up, memory, timed rounds."""
    case, work, bound, peaks = CASES[key], CASES[key].prepare(size), None, {}
    if work.operations:
        operations_s = work.operations / max(run["matrix_rates"].values())
        bound = [operations_s, work.moved_bytes / run["bandwidth"]]
    for implementation, call in work.calls.items():
        call()
        if bound and not case.varied:
            peaks[implementation] = measure.peak_bytes(call, size.device)
    least, budget_s = (2, 0.0) if quick else (3 if case.varied else 5, BUDGET_S)
    timed = measure.interleaved_seconds(work.calls, budget_s=budget_s, least_rounds=least)
    for implementation, rounds in timed.items():
        seconds = [float(f"{work.counted.get(implementation, 1) * s:.6g}") for s in rounds]
        low, median, high = measure.quartiles(seconds)
        row = {name: getattr(size, name) for name in SIZES}
        row |= {"implementation": implementation, "seconds": seconds, "median_s": median}
        row |= {"quartiles_s": [low, high], "rounds": len(rounds), "lower_bound_s": bound}
        yield {**row, "peak_bytes": peaks.get(implementation)}


if __name__ == "__main__":
    keep_freed_memory()  # as the commands of the package do
    try:
        tyro.cli(bench, prog="python -m benchmarks")
    except (InputError, OSError) as error:
        sys.exit(f"benchmarks: {error}")

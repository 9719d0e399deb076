"""Runs the benchmark: every case, each with all its contestants, into one record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import torch
from tqdm import tqdm

from vonenet.benchmarks.cases import CASES, QUICK_CASES, TASKS, Case
from vonenet.benchmarks.machine import this_machine
from vonenet.benchmarks.measure import interleaved_seconds, peak_bytes, synchronizer
from vonenet.benchmarks.record import Measurement, Record
from vonenet.benchmarks.setting import Setting
from vonenet.data.devices import chosen_device
from vonenet.data.seeding import seeded
from vonenet.errors import InputError

SEED = 0
BUDGET_S, QUICK_BUDGET_S = 4.0, 1.0


def run_bench(
    device: str = "auto", *, quick: bool = False, threads: int | None = None, progress: bool = True
) -> Record:
    """Measure the cases of a device.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        quick: a few cases, briefly.
        threads: threads that torch may compute with; by default as many as it does.
        progress: show a progress bar.

    Raises:
        InputError: an unknown device, one that is not there, or an impossible number of threads.
    """
    where = chosen_device(device)
    cases = (QUICK_CASES if quick else CASES)[where.type]
    budget_s = QUICK_BUDGET_S if quick else BUDGET_S
    with _threads(threads):
        return measure_cases(cases, where, budget_s=budget_s, progress=progress)


def measure_cases(
    cases: Sequence[Case], device: torch.device, *, budget_s: float, progress: bool = True
) -> Record:
    """Measure these cases, in order, about `budget_s` seconds each or five rounds."""
    # Torch's profiler, which counts memory, tells about itself on stderr unless told not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    measurements = []
    with seeded(SEED, device), tqdm(cases, disable=not progress, unit="case") as bar:
        machine = this_machine(device)
        for case in bar:
            bar.set_description(f"{case.task}, {case.batch} x {case.image_px} px")
            measurements.append(measure_case(case, device, budget_s))
    today = datetime.now(UTC).date().isoformat()
    return Record(machine, today, SEED, tuple(measurements))


def measure_case(case: Case, device: torch.device, budget_s: float) -> Measurement:
    """One case: a first call of each contestant, its memory, then the timed rounds."""
    task = TASKS[case.task]
    setting = Setting(case.batch, case.image_px, device, mixed=device.type == "cuda")
    prepared = task.run(setting)
    peaks, seconds = {}, {}
    for name, contestant in prepared.contestants.items():
        contestant.call()  # libraries plan, kernels are derived, the optimiser gets its momentum
        peaks[name] = peak_bytes(contestant.call, device)
    if case.timed:
        calls = {name: each.call for name, each in prepared.contestants.items()}
        timed = interleaved_seconds(calls, budget_s=budget_s, synchronize=synchronizer(device))
        seconds = {
            name: [each * prepared.contestants[name].times for each in rounds]
            for name, rounds in timed.items()
        }
    return Measurement(
        task=case.task,
        explanation=task.explanation,
        batch=case.batch,
        image_px=case.image_px,
        seconds=seconds,
        peak_bytes=peaks,
        floor=prepared.floor,
        goals=case.goals,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Within: torch computes with so many threads."""
    if count is None:
        yield
        return
    if count < 1:
        raise InputError(f"threads must be 1 or more, got {count}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

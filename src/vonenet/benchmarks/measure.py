"""Interleaved timing and exact peak memory of calls that do the same work."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]

MIN_ROUNDS, MAX_ROUNDS = 5, 40


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


def interleaved_seconds(
    calls: Mapping[str, Call],
    *,
    budget_s: float,
    synchronize: Call = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every call in every round; each round calls each once, and begins with the next.

    A machine that speeds up or slows down meanwhile does so for all of them.

    Args:
        calls: name -> call. Not warmed up here.
        budget_s: seconds after which no round begins, once there were `MIN_ROUNDS`.
        synchronize: waits until the device has done what it was told.
        clock: seconds that pass.

    Returns:
        Name -> seconds, one number for each of `MIN_ROUNDS` to `MAX_ROUNDS` rounds.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    start = clock()
    for count in range(MAX_ROUNDS):
        if count >= MIN_ROUNDS and clock() - start > budget_s:
            break
        first = count % len(names)
        for name in names[first:] + names[:first]:
            synchronize()
            before = clock()
            calls[name]()
            synchronize()
            seconds[name].append(clock() - before)
    return seconds


def peak_bytes(call: Call, device: torch.device) -> int:
    """Most bytes that torch's allocator held during a call, above those that it held before.

    On the CPU every allocation, and every release of what was allocated in the call, is recorded by
    torch's profiler: exact, whatever the allocator keeps for later. What libraries allocate for
    themselves is not seen.
    """
    if device.type == "cuda":
        return _cuda_peak_bytes(call, device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = peak = 0
    for change in _memory_changes(recorded):
        held += change
        peak = max(peak, held)
    return peak


def _memory_changes(recorded: profile) -> list[int]:
    """Bytes allocated (positive) and released (negative) on the CPU, in order of time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    return [int(event["args"]["Bytes"]) for event in changes]


def _cuda_peak_bytes(call: Call, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def synchronizer(device: torch.device) -> Call:
    """What waits for a device; nothing is to be waited for on the CPU."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None

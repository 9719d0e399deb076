"""Time and memory of calls, the machine that they ran on, and one results file per machine.

A results file has `machine` (see `this_machine`), `runs` by name (see `this_run`), and `rows`, one
per case, size and implementation: case (key of `benchmarks.cases.CASES`, or the name of one that is
no longer measured), run, image_px, batch, cells, samples, implementation, seconds of each round
(none if only the memory was measured), median_s, quartiles_s, rounds, lower_bound_s (of the
operations and of the bytes, or null), peak_bytes (or null).
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer, timer

from vonenet.errors import InputError
from vonenet.files import write_whole
from vonenet.results import current_versions

Call = Callable[[], object]
Row = dict[str, Any]
MOST_ROUNDS, COPY_MIB = 40, 256
GOAL_THREADS = 2  # the goals are set for these; another number of threads gets its own file


def interleaved_seconds(
    calls: Mapping[str, Call], *, budget_s: float, least_rounds: int
) -> dict[str, list[float]]:
    """Time every call once per round, every round beginning with another; seconds of each round.

    A machine that becomes faster or slower meanwhile does so for all calls. No round begins after
    `budget_s` seconds, once there were `least_rounds`; there are at most `MOST_ROUNDS`.
    """
    names, start = list(calls), timer()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for count in range(MOST_ROUNDS):
        if count >= least_rounds and timer() - start > budget_s:
            break
        first = count % len(names)
        for name in names[first:] + names[:first]:
            before = timer()  # torch's own: it waits for the GPU
            calls[name]()
            seconds[name].append(timer() - before)
    return seconds


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Compute the lower quartile, the median and the upper quartile."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return low, median, high


def peak_bytes(call: Call, device: torch.device) -> int:
    """Measure the most bytes that torch's allocator holds during a call, above those before it.

    On the CPU torch's profiler records each allocation and each release: the number is exact, but
    what libraries allocate by themselves is not seen.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    with tempfile.TemporaryDirectory() as folder:
        recorded.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(folder, "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    return int(max(np.cumsum([0, *(int(e["args"]["Bytes"]) for e in changes)])))


def this_machine(device: torch.device) -> dict[str, Any]:
    """Describe the processor or the GPU; what is not known is empty."""
    path = Path("/proc/cpuinfo")
    first_core = path.read_text(encoding="utf-8").split("\n\n")[0] if path.exists() else ""
    cpu = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", first_core, flags=re.MULTILINE))
    name = cpu.get("model name") or platform.processor() or platform.machine()
    machine: dict[str, Any] = {
        "kind": device.type,
        "name": re.sub(r"\(R\)|\(TM\)|\b(CPU|Processor)\b|@.*", "", name).strip(),
        "vendor": cpu.get("vendor_id", ""),
        "family": cpu.get("cpu family", ""),
        "model": cpu.get("model", ""),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "virtual": "hypervisor" in cpu.get("flags", "").split(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        machine |= {"cpu": machine["name"], "name": gpu.name, "memory_bytes": gpu.total_memory}
    return machine


def machine_title(machine: Mapping[str, Any]) -> str:
    """Name a machine, such as `AMD EPYC 25-1 AVX2`."""
    if machine["kind"] == "cuda":
        return str(machine["name"])
    number = f"{machine['family']}-{machine['model']}".strip("-")
    threads = "" if machine["threads"] == GOAL_THREADS else f"{machine['threads']} threads"
    return " ".join(filter(None, [machine["name"], number, machine["instructions"], threads]))


def slug(machine: Mapping[str, Any]) -> str:
    """Name a machine in a file name, such as `amd-epyc-25-1-avx2`."""
    return re.sub(r"[^a-z0-9]+", "-", machine_title(machine).lower()).strip("-")


def this_run(device: torch.device, *, seed: int, budget_s: float) -> dict[str, Any]:
    """Describe a run that begins now, and measure the machine's rates, each for `budget_s` seconds.

    The rates are operations per second, by what was multiplied; the bandwidth is bytes per second
    that a copy reads and writes.
    """
    side, batch, dtype = 2048, 8, torch.float32
    if device.type == "cuda":
        side, batch, dtype = 8192, 256, torch.bfloat16
    options: dict[str, Any] = {"device": device, "dtype": dtype}
    matrix = torch.ones(side, side, **options)
    maps = torch.ones(batch, 56, 56, 256, **options).permute(0, 3, 1, 2)
    kernel = torch.ones(256, 1, 1, 256, **options).permute(0, 3, 1, 2)
    source = torch.ones(COPY_MIB * 2**18, device=device)
    target = torch.empty_like(source)

    def best_s(call: Call) -> float:
        timed = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        return min(timed.blocked_autorange(min_run_time=budget_s).times)

    convolved_s = best_s(lambda: F.conv2d(maps, kernel))
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*"]
    git = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git.stdout.strip() or "of unknown commit",
        "note": "",
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "versions": {**current_versions(), "torchvision": version("torchvision")},
        "matrix_rates": {
            f"torch.mm, {side} x {side}": 2 * side**3 / best_s(lambda: torch.mm(matrix, matrix)),
            "1x1 convolution, channels last": 2 * maps.numel() * 256 / convolved_s,
        },
        "bandwidth": 2 * source.nbytes / best_s(lambda: target.copy_(source)),
    }


def read_results(path: Path) -> dict[str, Any]:
    """Read a results file.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        unknown = {row["run"] for row in results["rows"]} - set(results["runs"])
        machine_title(results["machine"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a results file of the benchmark: {error!r}") from error
    if unknown:
        raise InputError(f"{path} has rows of unknown runs {unknown}")
    return results


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write a results file, whole or not at all, named after its machine."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    write_whole(folder / f"{slug(results['machine'])}.json", text.encode())


def add_rows(results: dict[str, Any], name: str, run: dict[str, Any], rows: list[Row]) -> None:
    """Put the rows of a run into results, in place of those that their cases had before."""
    measured = {row["case"] for row in rows}
    results["rows"] = [row for row in results["rows"] if row["case"] not in measured] + rows
    used = {row["run"] for row in results["rows"]}
    runs = {**results["runs"], name: run}
    results["runs"] = {key: each for key, each in runs.items() if key in used}

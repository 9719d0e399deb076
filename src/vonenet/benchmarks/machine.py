"""The machine that a benchmark ran on: its name, and how fast it multiplies and moves numbers."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch.nn import functional as F

from vonenet.benchmarks.measure import interleaved_seconds, synchronizer
from vonenet.results import current_versions

COPY_BYTES = 256 * 2**20
# Sides of the multiplied matrices, and batch of the convolved maps, that keep each device busy.
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
CONVOLUTION_BATCH = {"cpu": 8, "cuda": 256}
CONVOLUTION_CHANNELS, CONVOLUTION_PX = 256, 56


@dataclass(frozen=True)
class Machine:
    """A machine and its measured rates.

    Attributes:
        kind: `cpu` or `cuda`.
        name: of the processor or the GPU, with what is known of it.
        threads: threads that torch computes with.
        memory_bytes: of the machine, or of the GPU.
        system: operating system.
        versions: Python, torch, torchvision, vonenet.
        precision: numbers that it multiplies.
        matrix_rates: operations per second, by what was multiplied.
        bandwidth: bytes per second that a copy reads and writes.
    """

    kind: str
    name: str
    threads: int
    memory_bytes: int
    system: str
    versions: Mapping[str, str]
    precision: str
    matrix_rates: Mapping[str, float]
    bandwidth: float

    @property
    def matrix_rate(self) -> float:
        """Operations per second, of the fastest way to multiply."""
        return max(self.matrix_rates.values())

    @property
    def slug(self) -> str:
        """The machine in a file name."""
        words = f"{self.name} {self.threads} threads" if self.kind == "cpu" else self.name
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def this_machine(device: torch.device, budget_s: float = 1.0) -> Machine:
    """Describe and measure the machine; takes a few times `budget_s`."""
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    memory = torch.cuda.get_device_properties(device).total_memory if cuda else _memory_bytes()
    return Machine(
        kind=device.type,
        name=torch.cuda.get_device_name(device) if cuda else cpu_name(),
        threads=torch.get_num_threads(),
        memory_bytes=memory,
        system=f"{platform.system()} {platform.release()}",
        versions={**current_versions(), "torchvision": version("torchvision")},
        precision=str(dtype).removeprefix("torch."),
        matrix_rates=matrix_rates(device, dtype, budget_s),
        bandwidth=copy_bandwidth(device, budget_s),
    )


def matrix_rates(device: torch.device, dtype: torch.dtype, budget_s: float) -> dict[str, float]:
    """Operations per second of a matrix product and of a 1x1 convolution, the best of several.

    On AMD's processors oneDNN's convolutions run about twice as fast as MKL's matrix products.
    """
    side = MATRIX_SIDE[device.type]
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    maps = torch.ones(
        CONVOLUTION_BATCH[device.type],
        CONVOLUTION_CHANNELS,
        CONVOLUTION_PX,
        CONVOLUTION_PX,
        device=device,
        dtype=dtype,
    ).to(memory_format=torch.channels_last)
    kernel = torch.ones(CONVOLUTION_CHANNELS, CONVOLUTION_CHANNELS, 1, 1).to(device, dtype)
    kernel = kernel.to(memory_format=torch.channels_last)
    return {
        f"torch.mm, {side} x {side}": 2
        * side**3
        / _best_seconds(lambda: torch.mm(matrix, matrix), device, budget_s),
        "1x1 convolution, channels last": 2
        * maps.numel()
        * CONVOLUTION_CHANNELS
        / _best_seconds(lambda: F.conv2d(maps, kernel), device, budget_s),
    }


def copy_bandwidth(device: torch.device, budget_s: float) -> float:
    """Bytes per second of a copy, those read and those written."""
    source = torch.ones(COPY_BYTES // 4, device=device)  # float32
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / _best_seconds(lambda: target.copy_(source), device, budget_s)


def cpu_name() -> str:
    """The processor's name, its family where Linux tells, its vector instructions."""
    fields = _cpu_fields()
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    if "hypervisor" in fields.get("flags", "").split():
        name += ", virtual machine"
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_fields() -> dict[str, str]:
    """What /proc/cpuinfo says of the first core; nothing where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _memory_bytes() -> int:
    """Memory of the machine; 0 where the system does not tell."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _best_seconds(call: Callable[[], object], device: torch.device, budget_s: float) -> float:
    call()
    seconds = interleaved_seconds({"": call}, budget_s=budget_s, synchronize=synchronizer(device))
    return min(seconds[""])

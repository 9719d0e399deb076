"""Processes that train together, started by torchrun or anything that sets the same variables.

A step's batch is cut into micro-batches, which the processes share out among themselves. Order,
augmentation, noise and batch statistics belong to the micro-batch, so the number of processes
changes nothing but the speed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from vonenet.data.pixels import chosen_device
from vonenet.data.seeding import seed_at
from vonenet.errors import InputError
from vonenet.training.config import OptimizationRecipe

# Processes wait so long while the first one downloads or reads the data; the default is 10 minutes.
# If one dies, `torchrun` ends the others.
PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class ProcessGroup:
    """This process's device, and its number (from 0) among those that train together."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return the model so that backward passes average gradients over the processes.

        All processes take the weights of the first one.
        """
        if self.size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.15 has a new name for broadcast_buffers, which earlier versions do not know
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(model, devices, broadcast_buffers=False)

    def average(self, *tensors: Tensor) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.size > 1:
            flat = torch.cat([each.flatten() for each in tensors])
            distributed.all_reduce(flat)
            parts = torch.split(flat / self.size, [each.numel() for each in tensors])
            for each, part in zip(tensors, parts, strict=True):
                each.copy_(part.view_as(each))

    def main_process_first(self, work: Callable[[], object]) -> None:
        """Let the main process work while the others wait.

        Raises:
            InputError: In every process, if the main process raised it.
        """
        error = None
        if self.rank == 0:
            try:
                work()
            except InputError as raised:
                error = raised
        if self.size > 1:
            message = [None if error is None else str(error)]
            distributed.broadcast_object_list(message, 0)
            if message[0] is not None:
                error = error or InputError(message[0])
                self.wait()  # gloo may abort those that are left behind
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that a launcher started, if any; those of one machine take a GPU each.

    Raises:
        InputError: The device ("auto", "cpu" or "cuda") is not there.
    """
    chosen = chosen_device(device)
    size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local_rank if size > 1 else torch.cuda.current_device())
        torch.cuda.set_device(chosen)
    joined = distributed.is_available() and distributed.is_initialized()
    if size == 1 and not joined:
        yield ProcessGroup(chosen)
        return
    if not distributed.is_available():
        raise InputError(f"this PyTorch cannot join {size} processes; allowed: one, no torchrun")
    if not joined:
        if chosen.type == "cuda" and distributed.is_nccl_available():  # not on Windows
            distributed.init_process_group("nccl", device_id=chosen, timeout=PATIENCE)
        else:
            distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        group = ProcessGroup(chosen, distributed.get_rank(), distributed.get_world_size())
        yield group
        group.wait()
    finally:
        if not joined:
            distributed.destroy_process_group()


@dataclass(frozen=True)
class MicroBatchSampler:
    """Which images meet in which micro-batch of a run: a `batch_sampler` of a data loader.

    Iteration gives this process's micro-batches as lists of pairs (epoch, index of an image), from
    epoch and step of the start to the end of the run. Process r takes micro-batch number r,
    r + processes, ... of each step. A last batch of an epoch that is not full is left out, unless
    it is the only one.
    """

    images: int
    batch_size: int
    micro_batches: int
    epochs: int
    seed: int
    rank: int = 0
    processes: int = 1
    start: tuple[int, int] = (0, 0)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return max(1, self.images // self.batch_size)

    @property
    def step_images(self) -> int:
        """Images of each step."""
        return min(self.images, self.batch_size)

    @property
    def own(self) -> range:
        """Numbers of this process's micro-batches of a step."""
        return range(self.rank, self.micro_batches, self.processes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first_epoch, first_step = self.start
        for epoch in range(first_epoch, self.epochs):
            generator = torch.Generator().manual_seed(seed_at(self.seed, "order", epoch))
            order = torch.randperm(self.images, generator=generator)
            batches = torch.split(order, self.batch_size)[: self.steps]
            for batch in batches[first_step if epoch == first_epoch else 0 :]:
                parts = batch.chunk(self.micro_batches)
                for number in self.own:
                    yield [(epoch, index) for index in parts[number].tolist()]


def micro_batch_sampler(
    images: int, recipe: OptimizationRecipe, group: ProcessGroup
) -> MicroBatchSampler:
    """Return the sampler of a recipe for so many images.

    Raises:
        InputError: The processes cannot share a step's images evenly.
    """
    batch, micro = recipe.batch_size, recipe.micro_batch_size
    micro_batches = batch // micro if micro else group.size
    if batch % micro_batches or micro_batches % group.size:
        parts = f" in micro-batches of {micro}" if micro else ""
        raise InputError(
            f"{group.size} processes cannot share optimization.batch_size={batch}{parts}; allowed: "
            f"a multiple of {group.size * (micro or 1)}"
        )
    if micro_batches > 1 and images < batch:
        raise InputError(
            f"optimization.batch_size={batch} is cut into {micro_batches} micro-batches, but "
            f"there are {images} images; allowed: at most {images}"
        )
    run = images, batch, micro_batches, recipe.epochs, recipe.seed
    return MicroBatchSampler(*run, group.rank, group.size)


class BatchStatistics:
    """Running means and variances of a model's batch norms that are in training mode.

    Each micro-batch moves them from where the step began, and the step's result is the mean over
    the micro-batches; so it does not matter which process sees which.
    """

    def __init__(self, model: nn.Module) -> None:
        self.buffers = [
            buffer
            for module in model.modules()
            if isinstance(module, _NormBase) and module.training
            for buffer in module.buffers(recurse=False)
        ]
        self.moving = [buffer for buffer in self.buffers if buffer.is_floating_point()]

    def averaged_over(self, micro_batches: range) -> Iterator[int]:
        """Yield the number of each micro-batch, and average what they make of the statistics."""
        if len(micro_batches) == 1:
            yield micro_batches[0]
            return
        start = [buffer.clone() for buffer in self.buffers]
        sums = [torch.zeros_like(buffer) for buffer in self.moving]
        for number in micro_batches:
            for buffer, first in zip(self.buffers, start, strict=True):
                buffer.copy_(first)
            yield number
            for total, buffer in zip(sums, self.moving, strict=True):
                total.add_(buffer)
        for total, buffer in zip(sums, self.moving, strict=True):
            buffer.copy_(total / len(micro_batches))

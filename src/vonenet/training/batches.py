"""Which images meet in which micro-batch: a function of seed, epoch and step, and the loader."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vonenet.errors import InputError
from vonenet.training.recipe import OptimizationRecipe
from vonenet.training.seeds import seed_at

Pair: TypeAlias = tuple[int, int]  # epoch and index of an image
Loader: TypeAlias = "DataLoader[tuple[Tensor, Tensor]]"


@dataclass(frozen=True)
class Plan:
    """How epochs are cut into steps, steps into micro-batches, and those shared by processes.

    Attributes:
        images: of the data set.
        batch_size: images of a step, over all processes.
        micro_batches: of a step, over all processes; process r takes number r, r + processes, ...
        epochs: of the run.
        seed: of the order.
        rank: number of this process.
        processes: how many there are.
    """

    images: int
    batch_size: int
    micro_batches: int
    epochs: int
    seed: int
    rank: int = 0
    processes: int = 1

    @property
    def steps(self) -> int:
        """Steps of an epoch: a last batch that is not full is left out, unless it is the only."""
        return max(1, self.images // self.batch_size)

    @property
    def step_images(self) -> int:
        """Images of each step."""
        return min(self.images, self.batch_size)

    @property
    def own(self) -> range:
        """Numbers of this process's micro-batches of a step."""
        return range(self.rank, self.micro_batches, self.processes)

    def order(self, epoch: int) -> Tensor:
        """Indices of all images, shuffled for an epoch."""
        generator = torch.Generator().manual_seed(seed_at(self.seed, "order", epoch))
        return torch.randperm(self.images, generator=generator)

    def batches(self, epoch: int, step: int) -> Iterator[list[Pair]]:
        """This process's micro-batches from a step to the end of the run."""
        for each in range(epoch, self.epochs):
            batches = torch.split(self.order(each), self.batch_size)[: self.steps]
            for batch in batches[step if each == epoch else 0 :]:
                pieces = batch.chunk(self.micro_batches)
                for number in self.own:
                    yield [(each, index) for index in pieces[number].tolist()]


def plan_batches(images: int, recipe: OptimizationRecipe, rank: int, processes: int) -> Plan:
    """The plan of a recipe for so many images.

    Raises:
        InputError: if the processes cannot share a step's images evenly.
    """
    batch, micro = recipe.batch_size, recipe.micro_batch_size
    if micro is None and batch % processes:
        raise InputError(
            f"{processes} processes cannot share optimization.batch_size={batch}; "
            f"allowed: a multiple of {processes}"
        )
    micro_batches = batch // micro if micro else processes
    if micro_batches % processes:
        raise InputError(
            f"{processes} processes cannot share the {micro_batches} micro-batches that "
            f"optimization.micro_batch_size={micro} makes of batch_size={batch}; allowed: a "
            "number of processes that divides them"
        )
    if micro_batches > 1 and images < batch:
        raise InputError(
            f"optimization.batch_size={batch} is cut into {micro_batches} micro-batches, but "
            f"there are {images} images; allowed: at most {images}"
        )
    return Plan(images, batch, micro_batches, recipe.epochs, recipe.seed, rank, processes)


@dataclass(frozen=True)
class Remaining:
    """What a plan's loader still has to load: one list of pairs after the other."""

    plan: Plan
    epoch: int
    step: int

    def __iter__(self) -> Iterator[list[Pair]]:
        return self.plan.batches(self.epoch, self.step)


def training_loader(
    images: Dataset[Any], remaining: Remaining, workers: int, *, pinned: bool
) -> Loader:
    """Loads micro-batches in order, from the middle of a run to its end.

    Args:
        images: takes pairs (epoch, index).
        remaining: which micro-batches.
        workers: processes that load; they live until the end of the run.
        pinned: load into memory from which a GPU copies in the background.
    """
    return DataLoader(
        images,
        batch_sampler=remaining,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=outlive_signals,
        generator=torch.Generator(),  # else it would draw from the global one
    )


def outlive_signals(worker: int) -> None:
    """Leaves a scheduler's signal to the training process, which then saves and ends its workers.

    A scheduler signals every process of a job; workers that died of it would take the training
    with them before it has saved.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

"""One step of the descent: micro-batches forward and backward, then the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vonenet.training.adversarial import attacked
from vonenet.training.averaging import RunningStatistics, WeightAverage
from vonenet.training.batches import Plan
from vonenet.training.mixing import mixed
from vonenet.training.optimizers import set_learning_rate
from vonenet.training.parameters import keep_frozen_in_eval
from vonenet.training.processes import Network, gradients_kept_back
from vonenet.training.recipe import TrainingRecipe
from vonenet.training.seeds import seed_at, seed_torch


@dataclass(frozen=True)
class Numbers:
    """What a step found, the same in every process.

    Attributes:
        loss: mean over the step's images.
        hits: right decisions among them.
        flags: how many processes raised each flag, as a share.
        gradient_norm: before clipping; None if gradients are not clipped.
    """

    loss: float
    hits: int
    flags: list[float]
    gradient_norm: float | None


class Pending:
    """Numbers on their way from the device, which is not kept waiting for them."""

    def __init__(self, values: Tensor, clipped: bool, processes: int) -> None:
        self._values = values.to("cpu", non_blocking=True)
        self._arrival = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]
        if self._arrival is not None:
            self._arrival.record()
        self._clipped = clipped
        self._processes = processes

    def read(self) -> Numbers:
        """The numbers; waits for them."""
        if self._arrival is not None:
            self._arrival.synchronize()
        loss, hits, *rest = self._values.tolist()
        norm = rest.pop() if self._clipped else None
        return Numbers(loss, round(hits * self._processes), rest, norm)


@dataclass
class Stepper:
    """Takes steps.

    Attributes:
        accelerator: device, precision, processes.
        recipe: what a step does.
        plan: micro-batches of a step.
        num_classes: of the data set.
        network: the model, sharded or not.
        model: the network as `prepared` has it.
        optimizer: of the trained parameters.
        average: of the weights, if any.
    """

    accelerator: Accelerator
    recipe: TrainingRecipe
    plan: Plan
    num_classes: int
    network: Network
    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None

    def __post_init__(self) -> None:
        self.begin()
        self.statistics = RunningStatistics(self.model)
        self.trained = [each for group in self.optimizer.param_groups for each in group["params"]]
        self.accelerator.gradient_accumulation_steps = len(self.plan.own)
        self.format = (
            torch.channels_last
            if self.recipe.optimization.channels_last
            else torch.contiguous_format
        )

    def begin(self) -> None:
        """Training mode, but for what is frozen; before the steps of each epoch."""
        self.model.train()
        keep_frozen_in_eval(self.network.model, self.recipe.optimization.frozen)

    def step(
        self, epoch: int, step: int, batches: Any, flags: Callable[[], Sequence[float]]
    ) -> Pending:
        """One step; returns before a GPU has finished it.

        Args:
            epoch: From 0.
            step: Of the epoch, from 0.
            batches: iterator over this process's micro-batches: pixels and labels.
            flags: asks for this process's, which all are told.
        """
        descent = self.recipe.optimization
        self.optimizer.zero_grad()
        found = self._gradients(epoch, step, batches)
        values = self._shared(torch.cat([found, found.new_tensor(flags())]))
        if descent.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.trained, descent.clip_norm)
            values = torch.cat([values, _whole(norm).reshape(1)])
        # The middle of the step, so that no step of a warm-up has learning rate 0.
        set_learning_rate(self.optimizer, descent, epoch + (step + 0.5) / self.plan.steps)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        clipped = descent.clip_norm is not None
        return Pending(values, clipped, self.plan.processes)

    def _gradients(self, epoch: int, step: int, batches: Any) -> Tensor:
        """Gradients of all micro-batches; returns their mean loss and number of hits."""
        own = self.plan.own
        several = len(own) > 1
        found = []
        if several:
            self.statistics.begin()
        for number in own:
            last = number == own[-1]
            pixels, labels = next(batches)
            seed = seed_at(self.recipe.optimization.seed, "micro-batch", epoch, step, number)
            with gradients_kept_back(self.accelerator, self.model, not last):
                found.append(self._micro_batch(pixels, labels, seed))
            if several and not last:
                self.statistics.between()
        if several:
            self.statistics.end(len(own))
        losses, hits = torch.stack(found).unbind(dim=1)
        return torch.stack([losses.mean(), hits.sum()])

    def _micro_batch(self, pixels: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Forward and backward; returns loss and hits."""
        device = self.accelerator.device
        seed_torch(seed, device)
        pixels = pixels.to(device, non_blocking=True, memory_format=self.format)
        labels = labels.to(device, non_blocking=True)
        smoothing = self.recipe.optimization.label_smoothing
        pixels, targets = mixed(
            pixels, labels, self.recipe.augmentation, self.num_classes, smoothing, seed
        )
        if self.recipe.adversarial.epsilon:
            with self.accelerator.autocast():
                pixels = attacked(self.network.queried, pixels, targets, self.recipe.adversarial)
        logits = self.model(pixels)
        # of mixed labels `mixed` has already smoothed the targets
        loss = cross_entropy(
            logits, targets, label_smoothing=smoothing if targets.ndim == 1 else 0.0
        )
        self.accelerator.backward(loss)
        classes = targets if targets.ndim == 1 else targets.argmax(dim=1)
        hits = (logits.detach().argmax(dim=1) == classes).sum()
        return torch.stack([loss.detach(), hits.to(loss.dtype)])

    def _shared(self, values: Tensor) -> Tensor:
        """Means over the processes, of the values and, in place, of the batch statistics."""
        if self.plan.processes == 1:
            return values
        buffers = self.statistics.moving
        flat = torch.cat([values, *(buffer.flatten() for buffer in buffers)])
        flat = self.accelerator.reduce(flat, "mean")
        values, *parts = flat.split([len(values), *(buffer.numel() for buffer in buffers)])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))
        return values


def _whole(norm: Tensor) -> Tensor:
    """A norm over all shards."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

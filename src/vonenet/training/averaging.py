"""What is averaged in a training: weights over time, batch statistics over micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving average of a model's trained weights and running statistics, per step.

    It starts at the weights that the model has: e <- decay e + (1 - decay) w after each step.

    Args:
        model: whose weights are averaged; sharded or not.
        decay: 0 or more, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.values = {name: value.detach().clone() for name, value in moving(model).items()}
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the model's present weights in."""
        present = moving(self.model).values()
        self._average(
            [_local(each) for each in self.values.values()],
            [_local(each) for each in present],
            None,
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within: the model has the average for weights."""
        kept = [value.detach().clone() for value in moving(self.model).values()]
        self.keep()
        try:
            yield
        finally:
            self._fill(kept)

    def keep(self) -> None:
        """Gives the model the average for good."""
        self._fill(list(self.values.values()))

    @torch.no_grad()
    def _fill(self, values: list[Tensor]) -> None:
        for own, value in zip(moving(self.model).values(), values, strict=True):
            own.copy_(value)


def moving(model: nn.Module) -> dict[str, Tensor]:
    """What training moves: trained parameters and running statistics, by name."""
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    statistics = {
        f"{name}.{key}": buffer
        for name, module in model.named_modules()
        if isinstance(module, _NormBase)
        for key, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }
    return trained | statistics


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor; any other as it is."""
    part: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part.detach()


class RunningStatistics:
    """Running means and variances of batch norm, where a step has several micro-batches.

    Each micro-batch moves them from where the step began, and the step's result is the mean of
    these; so it is the same whether one process sees all micro-batches or each sees some.

    Args:
        model: in training mode but for what is frozen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.buffers = [
            buffer
            for module in model.modules()
            if isinstance(module, _NormBase) and module.training
            for buffer in module.buffers(recurse=False)
        ]
        self._start: list[Tensor] = []
        self._sums: list[Tensor] = []

    @property
    def moving(self) -> list[Tensor]:
        """Means and variances, without the counts of batches."""
        return [buffer for buffer in self.buffers if buffer.is_floating_point()]

    def begin(self) -> None:
        """Before a step's first micro-batch."""
        self._start = [buffer.clone() for buffer in self.buffers]
        self._sums = [torch.zeros_like(buffer) for buffer in self.moving]

    def between(self) -> None:
        """After each micro-batch but the last."""
        self._add()
        for buffer, start in zip(self.buffers, self._start, strict=True):
            buffer.copy_(start)

    def end(self, micro_batches: int) -> None:
        """After the last of so many micro-batches."""
        self._add()
        for buffer, total in zip(self.moving, self._sums, strict=True):
            buffer.copy_(total / micro_batches)

    def _add(self) -> None:
        for total, buffer in zip(self._sums, self.moving, strict=True):
            total.add_(buffer)

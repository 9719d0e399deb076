"""Neuronal noise on the CPU in one pass over memory: `noise.py`'s numbers, a chunk at a time.

A batch's responses are far larger than a processor's cache, and PyTorch's operations would write
and read all of them several times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vonenet.memory import empty_like, in_memory_order
from vonenet.v1.random import fill_normal

# Numbers of a chunk, which stays in a core's cache.
CHUNK = 2**17
# Keeps the standard deviation's gradient finite at silence; "10e-5" in the published code.
VARIANCE_FLOOR = 1e-4


def is_recorded() -> bool:
    """Whether operations are recorded, to be compiled or to leave PyTorch."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def neuronal_deviation(mean: Tensor, scale: float, level: float) -> Tensor:
    """sqrt(max(s x + l, 0) + floor) / s, the standard deviation of the response."""
    silent = mean.new_tensor((level + VARIANCE_FLOOR) / scale**2)
    variance = torch.add(silent, mean, alpha=1 / scale)
    return variance.clamp_min_(VARIANCE_FLOOR / scale**2).sqrt_()


class NeuronalResponse(torch.autograd.Function):
    """max(x + z sd(x), 0), of the shape and memory layout of the mean response x."""

    @staticmethod
    def forward(mean: Tensor, standard_normal: Tensor | None, scale: float, level: float) -> Tensor:
        """Noisy responses.

        Args:
            mean: x, any shape.
            standard_normal: the draw z, broadcast to the mean; None: a new one by torch's seed.
            scale: spikes per unit of response.
            level: spontaneous spikes.
        """
        wide = torch.promote_types(mean.dtype, torch.float32)
        out = empty_like(mean, wide)
        if standard_normal is None:
            fill_normal(in_memory_order(out))
        draw = out if standard_normal is None else standard_normal.expand_as(mean)
        for x, z, y in _chunks(mean, draw, out):
            deviation = neuronal_deviation(x.to(wide), scale, level)
            torch.addcmul(x.to(wide), z.to(wide), deviation, out=deviation)
            torch.clamp_min(deviation, 0, out=y)
        return out.to(mean.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep mean and response."""
        mean, _, ctx.scale, ctx.level = inputs
        ctx.save_for_backward(mean, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient with respect to the mean.

        The draw need not be kept: z sd(x) is response minus mean where the response is above 0;
        elsewhere the gradient is 0.
        """
        mean, noisy = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the second derivative, the draw being given
            deviation = neuronal_deviation(mean, ctx.scale, ctx.level)
            draw = ((noisy - mean) / deviation).detach()
            slope = _slope(mean, draw * deviation, ctx.scale, ctx.level)
            return gradient * slope * (noisy > 0), None, None, None
        result = torch.empty_like(mean)
        for g, x, y, r in _chunks(gradient, mean, noisy, result):
            torch.mul(_slope(x, y - x, ctx.scale, ctx.level).mul_(y > 0), g, out=r)
        return result, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, mean: Tensor, z: Tensor | None, *settings: Any
    ) -> tuple[Tensor, int]:
        """Many means, or many draws."""
        n = info.batch_size
        mean = mean.expand(n, *mean.shape) if in_dims[0] is None else mean.movedim(in_dims[0], 0)
        if z is None and info.randomness == "error":
            raise RuntimeError('noise under vmap needs randomness="different" or "same"; or fix it')
        if z is None and info.randomness == "same":
            z = fill_normal(torch.empty(mean.shape[1:]))
        elif z is not None and in_dims[1] is not None:
            z = z.movedim(in_dims[1], 0)
            z = z[(slice(None), *[None] * (mean.dim() - z.dim()))]
        return NeuronalResponse.apply(mean.contiguous(), z, *settings), 0


def _slope(mean: Tensor, deviation: Tensor, scale: float, level: float) -> Tensor:
    """Derivative of x + z sd(x) with respect to x: 1 + z sd(x) / (2 (x + (l + floor) / s)).

    It is 1 below 0 spikes, where the deviation no longer changes.
    """
    twice = mean.new_tensor(2 * (level + VARIANCE_FLOOR) / scale)
    divisor = torch.add(twice, mean, alpha=2)
    below = divisor < 2 * VARIANCE_FLOOR / scale
    return deviation.div(divisor).masked_fill(below, 0.0).add(1.0)


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same small parts of tensors of one shape: in memory order if all have the last's."""
    if all(t.stride() == tensors[-1].stride() for t in tensors):
        tensors = tuple(in_memory_order(t) for t in tensors)
        yield from zip(*(torch.split(t, CHUNK) for t in tensors), strict=True)
    else:
        yield from zip(*tensors, strict=True)

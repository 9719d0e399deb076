"""Neuronal stochasticity: noise on the mean responses of V1 cells, fresh, repeated, or off.

After Dapello, Marques et al. 2020 (NeurIPS 33), section 3, and the published code. A response x is
read as s x + l spikes in a window of 25 ms. Spike counts vary like a Poisson process (variance =
mean, Fano factor 1), approximated by a Gaussian:

    x' = x + N(0, 1) sqrt(max(s x + l, 0) + 1e-4) / s

The noise belongs to the model: it is there in training and in evaluation. On the CPU it is computed
in one pass over memory: the responses of a batch are far larger than a processor's cache, and
PyTorch's operations would write and read all of them several times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.memory import in_huge_pages, in_memory_order

NOISE_MODES = ("neuronal", "gaussian", None)
# Keeps the gradient of the standard deviation finite at silence; "10e-5" in the published code.
VARIANCE_FLOOR = 1e-4
# Numbers that are processed at a time, and stay in a core's cache.
CHUNK = 2**17
# Numbers that are drawn at a time. Part of what a seed promises: do not change.
BLOCK = 2**19
StandardNormal = Callable[[Tensor], Tensor]  # a draw that broadcasts to the given responses


class Noise(nn.Module):
    """Add noise to mean responses and rectify them.

    Attributes:
        mode: `neuronal`, `gaussian`, or None (no noise).
        scale: neuronal: spikes per unit of response; gaussian: standard deviation.
        level: neuronal: spontaneous spikes.
        draw: where the standard normal numbers come from; None: torch's generator.
    """

    def __init__(self, mode: str | None, scale: float, level: float) -> None:
        super().__init__()
        check_noise(mode, scale, level)
        self.mode, self.scale, self.level = mode, scale, level
        self.draw: StandardNormal | None = None

    def set(self, mode: str | None, scale: float | None = None, level: float | None = None) -> None:
        """Switch the mode, and the scale and level where they are given.

        Raises:
            InputError: an unknown mode or an impossible scale or level.
        """
        scale = self.scale if scale is None else scale
        level = self.level if level is None else level
        check_noise(mode, scale, level)
        self.mode, self.scale, self.level = mode, scale, level

    def standard_deviation(self, mean_response: Tensor) -> Tensor | float:
        """Return the standard deviation before rectification at each mean (any shape)."""
        if self.mode == "neuronal":
            return neuronal_deviation(mean_response, self.scale, self.level)
        return self.scale if self.mode == "gaussian" else 0.0

    def forward(self, mean_response: Tensor, standard_normal: Tensor | None = None) -> Tensor:
        """Return noisy responses >= 0, of the shape of `mean_response`.

        Args:
            mean_response: any shape; B, C, H, W for images.
            standard_normal: the draw to use instead of a new one, broadcast to the responses.
        """
        if self.mode is None:
            return F.relu(mean_response)
        if standard_normal is None and self.draw is not None:
            standard_normal = self.draw(mean_response)
        return add_noise(mean_response, standard_normal, self.mode, self.scale, self.level)


def check_noise(mode: str | None, scale: float, level: float) -> None:
    """Raise InputError unless these settings make a noise model."""
    if mode not in NOISE_MODES:
        raise InputError(f"noise must be 'neuronal', 'gaussian' or None, got {mode!r}")
    if not scale > 0:
        raise InputError(f"noise_scale must be positive (noise=None is silence), got {scale}")
    if not level >= 0:
        raise InputError(f"noise_level must be 0 or more, got {level}")


# --- the noise of a batch ------------------------------------------------------------------------


@torch.fx.wrap
def add_noise(
    mean: Tensor, standard_normal: Tensor | None, mode: str, scale: float, level: float
) -> Tensor:
    """Return max(x + z sd(x), 0) for a mean response x and a draw z, new if there is none."""
    if mode == "neuronal" and mean.device.type == "cpu" and not is_recorded():
        noisy: Tensor = NeuronalResponse.apply(mean, standard_normal, scale, level)
        return noisy
    z = _drawn_like(mean) if standard_normal is None else standard_normal
    deviation = scale if mode == "gaussian" else neuronal_deviation(mean, scale, level)
    return F.relu(mean + z * deviation)


def is_recorded() -> bool:
    """Tell whether operations are recorded, to be compiled or to leave PyTorch."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def neuronal_deviation(mean: Tensor, scale: float, level: float) -> Tensor:
    """Return sqrt(max(s x + l, 0) + floor) / s, the standard deviation of the response."""
    silent = mean.new_tensor((level + VARIANCE_FLOOR) / scale**2)
    variance = torch.add(silent, mean, alpha=1 / scale)
    return variance.clamp_min_(VARIANCE_FLOOR / scale**2).sqrt_()


def _drawn_like(mean: Tensor) -> Tensor:
    """Draw standard normal numbers of the shape of `mean` from torch's generator of its device."""
    if mean.device.type == "cpu" and mean.dim() == 4:
        # Where channels come last, `randn_like` takes ten times as long on the CPU.
        batch, channels, height, width = mean.shape
        draw = torch.randn(batch, height, width, channels, dtype=mean.dtype)
        return draw.permute(0, 3, 1, 2)
    return torch.randn_like(mean)


class NeuronalResponse(torch.autograd.Function):
    """max(x + z sd(x), 0) on the CPU, of the shape and memory layout of the mean response x."""

    @staticmethod
    def forward(mean: Tensor, standard_normal: Tensor | None, scale: float, level: float) -> Tensor:
        """Return noisy responses.

        Args:
            mean: x, any shape.
            standard_normal: the draw z, broadcast to the mean; None: a new one by torch's seed.
            scale: spikes per unit of response.
            level: spontaneous spikes.
        """
        wide = torch.promote_types(mean.dtype, torch.float32)
        out = in_huge_pages(torch.empty_like(mean, dtype=wide))
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
        """Return the gradient with respect to the mean.

        The draw need not be kept: z sd(x) is response minus mean where the response is above 0;
        elsewhere the gradient is 0.
        """
        mean, noisy = ctx.saved_tensors
        if torch.is_grad_enabled():  # for the second derivative, the draw being given
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
        """Apply it to many means, or many draws."""
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
    """Return d(x + z sd(x)) / dx = 1 + z sd(x) / (2 (x + (l + floor) / s)).

    It is 1 below 0 spikes, where the deviation no longer changes.
    """
    twice = mean.new_tensor(2 * (level + VARIANCE_FLOOR) / scale)
    divisor = torch.add(twice, mean, alpha=2)
    below = divisor < 2 * VARIANCE_FLOOR / scale
    return deviation.div(divisor).masked_fill(below, 0.0).add(1.0)


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the same small parts of tensors of one shape, in memory order if layouts agree."""
    if all(t.stride() == tensors[-1].stride() for t in tensors):
        tensors = tuple(in_memory_order(t) for t in tensors)
        yield from zip(*(torch.split(t, CHUNK) for t in tensors), strict=True)
    else:
        yield from zip(*tensors, strict=True)


def fill_normal(out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Overwrite a tensor with independent standard normal numbers, up to 6.7 in size.

    Most of the time of `torch.randn` goes into the bits of its Mersenne Twister, on one core. Here
    they come from SFC64 (Doty-Humphrey's PractRand, as numpy has it), and the Box-Muller transform
    uses all cores. One seed gives the same numbers whatever the number of cores.

    Args:
        out: contiguous, float32 or float64, on the CPU; any shape.
        generator: what sets the numbers; None: PyTorch's global generator of the CPU.

    Returns:
        `out`.
    """
    seed = int(torch.randint(2**63 - 1, (), dtype=torch.int64, generator=generator))
    bits = np.random.SFC64(seed)
    for block in torch.split(out.view(-1), BLOCK):
        n = -(-len(block) // 2)
        integers = torch.from_numpy(bits.random_raw(n).view(np.int32))
        # Whole numbers from -2^31: the size of the first half is uniform in (0, 1], and finest
        # where it is smallest, which makes the largest normal numbers.
        uniform = integers[:n].to(out.dtype).abs_().mul_(2.0**-31).add_(2.0**-33)
        radius = uniform.log_().mul_(-2).clamp_min_(0).sqrt_()
        angle = integers[n:].to(out.dtype).mul_(math.pi * 2.0**-31)
        torch.mul(angle.cos(), radius, out=block[:n])
        torch.mul(angle.sin_()[: len(block) - n], radius[: len(block) - n], out=block[n:])
    return out


# --- switches ------------------------------------------------------------------------------------


@contextmanager
def no_noise(model: nn.Module) -> Iterator[None]:
    """Have every V1 block in `model` give its mean response within the context."""
    with _switched(model, "mode", None):
        yield


@contextmanager
def fixed_noise(model: nn.Module, seed: int) -> Iterator[None]:
    """Have every pass and every image meet the same draw, set by `seed` (0 is a seed).

    The draw depends neither on the batch's size nor on an image's place in it. It is numpy's, on
    the CPU, so that it does not depend on the device and is no random operation to
    `torch.func.vmap`.
    """
    drawn: dict[tuple[int, ...], Tensor] = {}

    def draw(like: Tensor) -> Tensor:
        shape = (1, *like.shape[1:])
        if shape not in drawn:
            normal = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
            drawn[shape] = torch.from_numpy(normal)
        return drawn[shape].to(like.device, like.dtype)

    with _switched(model, "draw", draw):
        yield


@contextmanager
def noise_generator(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Draw the noise from `generator`, on its own device, instead of torch's global one."""

    def draw(like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=generator, device=generator.device)
        return drawn.to(like.device, like.dtype)

    with _switched(model, "draw", draw):
        yield


@contextmanager
def _switched(model: nn.Module, attribute: str, value: Any) -> Iterator[None]:
    """Set an attribute of every noise stage within the context."""
    stages = [module for module in model.modules() if isinstance(module, Noise)]
    previous = [getattr(stage, attribute) for stage in stages]
    for stage in stages:
        setattr(stage, attribute, value)
    try:
        yield
    finally:
        for stage, before in zip(stages, previous, strict=True):
            setattr(stage, attribute, before)

"""Neuronal stochasticity: noise on the mean responses of V1 cells, fresh, repeated, or off.

After Dapello, Marques et al. 2020 (NeurIPS 33), section 3, and the published code. A response x is
read as s x + l spikes in a window of 25 ms. Spike counts vary like a Poisson process (variance =
mean, Fano factor 1), approximated by a Gaussian:

    x' = x + N(0, 1) sqrt(F max(s x + l, 0) + 1e-4) / s

Other front-ends have another Fano factor F, another floor, or no rectification (`NoiseLaw`).

The noise belongs to the model: it is there in training and in evaluation. On the CPU it is computed
in one pass over memory: the responses of a batch are far larger than a processor's cache, and
PyTorch's operations would write and read all of them several times.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.attributes import Answering
from vonenet.v1.checks import LARGEST_SEED, real, whole
from vonenet.v1.memory import in_huge_pages, in_memory_order

NOISE_MODES = ("neuronal", "gaussian", None)
# Keeps the gradient of the standard deviation finite at silence; "10e-5" in the published code.
VARIANCE_FLOOR = 1e-4
# Numbers that are processed at a time, and stay in a core's cache.
CHUNK = 2**17
# Numbers that are drawn at a time. Part of what a seed promises: do not change.
BLOCK = 2**19


class NoiseLaw(NamedTuple):
    """How the noise of a response follows its mean.

    Attributes:
        mode: `neuronal`, `gaussian`, or None (no noise).
        scale: neuronal: spikes per unit of response; gaussian: standard deviation.
        level: neuronal: spontaneous spikes.
        fano: neuronal: variance of the spikes over their mean.
        floor: neuronal: variance at silence, spikes^2.
        rectified: whether noisy responses below 0 are set to 0.
        two_sided: neuronal: whether the variance grows with the size of a negative response too.
    """

    mode: str | None
    scale: float
    level: float
    fano: float = 1.0
    floor: float = VARIANCE_FLOOR
    rectified: bool = True
    two_sided: bool = False


class Noise(Answering):
    """Add noise to mean responses, and rectify them where the law says so.

    Attributes:
        mode, scale, level, fano, floor, rectified, two_sided: those of `NoiseLaw`.
        stream: number of this stage's draws among those of a model: stages that are fixed by one
            seed draw different numbers.
        seed: of the draw that every pass and every image meets; None: a new draw for each.
        fixed: the draw itself, in place of a seed; broadcast to the responses.
    """

    mode: str | None
    scale: float
    level: float
    fano: float
    floor: float
    rectified: bool
    two_sided: bool
    stream: int
    fixed: Tensor | None
    seed: int | None
    instead: ClassVar = {
        **dict.fromkeys(("mode", "noise_mode"), "block.noise_mode = {value}"),
        **dict.fromkeys(("scale", "noise_scale"), "block.noise_scale = {value}"),
        **dict.fromkeys(("level", "noise_level"), "block.noise_level = {value}"),
        **dict.fromkeys(("seed", "fixed", "fixed_noise"), "block.fixed_noise = ..."),
    }

    def __init__(
        self, mode: str | None, scale: float, level: float, *, stream: int = 0, **law: Any
    ) -> None:
        super().__init__()
        vars(self).update(NoiseLaw(mode, scale, level, **law)._asdict(), stream=stream)
        self.set(mode, scale, level)
        self.register_buffer("fixed", None, persistent=False)
        self.fix(None)
        self._key = uuid.uuid4().hex

    def set(self, mode: str | None, scale: float | None = None, level: float | None = None) -> None:
        """Switch the mode, and the scale and level where they are given.

        Raises:
            InputError: an unknown mode or an impossible scale or level.
        """
        scale = self.scale if scale is None else scale
        level = self.level if level is None else level
        mode, scale, level = check_noise(mode, scale, level)
        vars(self).update(mode=mode, scale=scale, level=level)

    def fix(self, draw: Tensor | int | None) -> None:
        """Meet one draw for good: standard normal numbers, or those of a seed; None: new ones."""
        if isinstance(draw, Tensor) and not (draw.dim() == 4 and draw.is_floating_point()):
            raise InputError(
                f"fixed_noise must be standard normal numbers of shape (batch or 1, cells, height, "
                f"width), got {draw.dtype} of shape {tuple(draw.shape)}"
            )
        fixed = draw if draw is None or isinstance(draw, Tensor) else None
        seed = None if draw is fixed else whole("seed", draw, 0, LARGEST_SEED)
        vars(self)["seed"], self._buffers["fixed"] = seed, fixed

    def standard_deviation(self, mean_response: Tensor) -> Tensor | float:
        """Return the standard deviation before rectification at each mean (any shape)."""
        mode = None if active(self._key).silent else self.mode
        if mode == "neuronal":
            return neuronal_deviation(mean_response, self.law)
        return self.scale if mode == "gaussian" else 0.0

    @property
    def law(self) -> NoiseLaw:
        """How the noise follows the mean, as it is set now.

        Its fields are attributes of their own, for these count in a model's hash.
        """
        return NoiseLaw(*(getattr(self, name) for name in NoiseLaw._fields))

    def forward(self, mean_response: Tensor, standard_normal: Tensor | None = None) -> Tensor:
        """Return noisy responses; a draw that is given is broadcast to the mean response."""
        fixed = self.seed if self.fixed is None else self.fixed
        draw = standard_normal
        return switched_noise(mean_response, draw, fixed, self._key, self.law, self.stream)

    def extra_repr(self) -> str:
        """Return the settings, for the printed model."""
        fixed = "" if self.seed is None and self.fixed is None else ", fixed"
        return f"{self.mode}, scale {self.scale:g}, level {self.level:g}{fixed}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy: another stage, which the contexts that are open here switch too."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        original, self._key = self._key, uuid.uuid4().hex
        for switch in _SWITCHES.get():
            if original in switch.stages:
                switch.stages.add(self._key)

    def _replicate_for_data_parallel(self) -> Noise:
        """Hand what is switched here to a replica, which runs in a thread of its own."""
        replica: Noise = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        switch = active(self._key)
        if switch.generator is not None:
            raise InputError("noise_generator cannot serve several replicas; use fixed_noise")
        if switch.silent:
            vars(replica)["mode"] = None
        if switch.seed is not None:
            replica.fix(switch.seed)
        return replica


def check_noise(mode: Any, scale: Any, level: Any) -> tuple[str | None, float, float]:
    """Return mode, scale and level as plain values, or raise InputError if they are impossible.

    Gains stay where the variance is a normal number in single precision.
    """
    if not (mode is None or isinstance(mode, str)) or mode not in NOISE_MODES:
        raise InputError(f"noise must be 'neuronal', 'gaussian' or None, got {mode!r}")
    scale = real("noise_scale (noise=None is silence)", scale, 1e-6, 1e6)
    return mode and str(mode), scale, real("noise_level", level, 0, 1e6)


# --- the noise of a batch ------------------------------------------------------------------------


@torch.fx.wrap
def switched_noise(
    mean: Tensor,
    given: Tensor | None,
    fixed: Tensor | int | None,
    key: str,
    law: NoiseLaw,
    stream: int = 0,
) -> Tensor:
    """Return the responses of the stage of this key, as its settings and the context have them.

    A draw that is given comes first, then the context, then what is fixed for good. Symbolic
    tracing keeps this call, so that contexts switch a traced model too.
    """
    switch = active(key)
    if law.mode is None or switch.silent:
        return F.relu(mean) if law.rectified else mean
    if given is None and switch.generator is not None:
        device = switch.generator.device
        given = torch.randn(mean.shape, generator=switch.generator, device=device)
    if given is None and switch.seed is not None:
        fixed = switch.seed
    if given is None and fixed is not None:
        shape = tuple(mean.shape[1:])
        given = fixed if isinstance(fixed, Tensor) else draw_for_one_image(fixed, shape, stream)
    if given is not None:
        given = given.to(mean.device, mean.dtype)
    return add_noise(mean, given, law)


def draw_for_one_image(seed: int, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Return standard normal numbers for one image, the same for any batch and device."""
    drawn: Tensor = _DRAWS[stream](seed, shape)
    return drawn


def _draw_of(stream: int) -> Callable[[int, tuple[int, ...]], Tensor]:
    """Return what draws for one stage, as a constant to `torch.compile`.

    A compiled graph takes one constant of each name, so that each stream has a function.
    """

    def draw(seed: int, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(_numpy_draw((seed, stream) if stream else seed, (1, *shape)))

    draw.__code__ = draw.__code__.replace(co_name=f"draw_{stream}")
    # As `torch.compiler.assume_constant_result` does, which imports the compiler: over a second
    vars(draw)["_dynamo_marked_constant"] = True
    return draw


@lru_cache(maxsize=4)
def _numpy_draw(seed: int | tuple[int, int], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


# One for each noisy stage that a front-end may have
_DRAWS = tuple(_draw_of(stream) for stream in range(8))


def add_noise(mean: Tensor, standard_normal: Tensor | None, law: NoiseLaw) -> Tensor:
    """Return x + z sd(x) for a mean response x and a draw z, new if there is none; rectified."""
    is_fast = law.mode == "neuronal" and not law.two_sided and mean.device.type == "cpu"
    if is_fast and not is_plain():
        noisy: Tensor = NeuronalResponse.apply(mean, standard_normal, law)
        return noisy
    z = _drawn_like(mean) if standard_normal is None else standard_normal
    deviation = law.scale if law.mode == "gaussian" else neuronal_deviation(mean, law)
    noisy = mean + z * deviation
    return F.relu(noisy) if law.rectified else noisy


def is_plain() -> bool:
    """Tell whether PyTorch's own operations are needed.

    They are where operations are recorded, to be compiled or to leave PyTorch, and in forward mode,
    which would follow a function of ours once, but not twice.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling() or forward_ad._current_level >= 0


def is_batched(tensor: Tensor) -> bool:
    """Tell whether this is many gradients at once: `torch.autograd.grad(is_grads_batched=True)`.

    Unlike `torch.func.vmap`, it knows PyTorch's own operations only.
    """
    batched: bool = torch._C._functorch.is_legacy_batchedtensor(tensor)
    return batched


def neuronal_deviation(mean: Tensor, law: NoiseLaw) -> Tensor:
    """Return sqrt(F max(s x + l, 0) + floor) / s, the standard deviation of the response.

    Where the variance is two-sided, F |s x + l| stands for F max(s x + l, 0).
    """
    floor, slope = law.floor / law.scale**2, law.fano / law.scale
    if law.two_sided:
        return ((mean + law.level / law.scale).abs() * slope + floor).sqrt()
    silent = mean.new_tensor((law.fano * law.level + law.floor) / law.scale**2)
    variance = torch.add(silent, mean, alpha=slope)
    return variance.clamp_min_(floor).sqrt_()


def _drawn_like(mean: Tensor) -> Tensor:
    """Draw standard normal numbers of the shape of `mean` from torch's generator of its device."""
    if mean.device.type == "cpu" and mean.dim() == 4:
        # Where channels come last, `randn_like` takes ten times as long on the CPU.
        batch, channels, height, width = mean.shape
        draw = torch.randn(batch, height, width, channels, dtype=mean.dtype)
        return draw.permute(0, 3, 1, 2)
    return torch.randn_like(mean)


class NeuronalResponse(torch.autograd.Function):
    """x + z sd(x) on the CPU, of the shape and memory layout of the mean response x; rectified."""

    @staticmethod
    def forward(mean: Tensor, standard_normal: Tensor | None, law: NoiseLaw) -> Tensor:
        """Return noisy responses; the draw is broadcast to the mean, and new if it is None."""
        wide = torch.promote_types(mean.dtype, torch.float32)
        out = in_huge_pages(torch.empty_like(mean, dtype=wide))
        if standard_normal is None:
            fill_normal(in_memory_order(out))
        draw = out if standard_normal is None else standard_normal.expand_as(mean)
        for x, z, y in _chunks(mean, draw, out):
            deviation = neuronal_deviation(x.to(wide), law)
            torch.addcmul(x.to(wide), z.to(wide), deviation, out=deviation)
            torch.clamp_min(deviation, 0 if law.rectified else -torch.inf, out=y)
        return out.to(mean.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep mean and response."""
        mean, _, ctx.law = inputs
        ctx.save_for_backward(mean, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient with respect to the mean.

        The draw need not be kept: z sd(x) is response minus mean where the response is above 0;
        where it was rectified the gradient is 0.
        """
        mean, noisy = ctx.saved_tensors
        law, lowest = ctx.law, 0 if ctx.law.rectified else -torch.inf
        # For the second derivative, or many gradients at once
        if torch.is_grad_enabled() or is_batched(gradient):
            deviation = neuronal_deviation(mean, law)
            draw = ((noisy - mean) / deviation).detach()
            slope = _slope(mean, draw * deviation, law)
            return gradient * slope * (noisy > lowest), None, None
        result = torch.empty_like(mean)
        for g, x, y, r in _chunks(gradient, mean, noisy, result):
            torch.mul(_slope(x, y - x, law).mul_(y > lowest), g, out=r)
        return result, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, mean: Tensor, z: Tensor | None, law: NoiseLaw
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
        return NeuronalResponse.apply(mean.contiguous(), z, law), 0


def _slope(mean: Tensor, deviation: Tensor, law: NoiseLaw) -> Tensor:
    """Return d(x + z sd(x)) / dx = 1 + z sd(x) / (2 (x + (l + floor / F) / s)).

    It is 1 below 0 spikes, where the deviation no longer changes.
    """
    floor = law.floor / law.fano
    twice = mean.new_tensor(2 * (law.level + floor) / law.scale)
    divisor = torch.add(twice, mean, alpha=2)
    below = divisor < 2 * floor / law.scale
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
        out: contiguous, float32 or float64, on the CPU; any shape. It is returned, too.
        generator: what sets the numbers; None: PyTorch's global generator of the CPU.
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


@dataclass(eq=False)
class Switch:
    """What stages do within a context, instead of what their settings say."""

    stages: set[str]  # by their keys; a copy that is made of one within the context joins
    silent: bool = False
    seed: int | None = None  # of the one draw
    generator: torch.Generator | None = None  # where draws come from


# The switches that are on, the innermost last: of this context, not of a model, so that threads
# that share a model do not meet each other's.
_SWITCHES: ContextVar[tuple[Switch, ...]] = ContextVar("vonenet_noise", default=())


def active(key: str) -> Switch:
    """Return what a stage does here: silent if any context says so, else the innermost's draw."""
    result = Switch(set())
    for switch in _SWITCHES.get():
        if key in switch.stages and switch.silent:
            result.silent = True
        elif key in switch.stages:
            result.seed, result.generator = switch.seed, switch.generator
    return result


@contextmanager
def no_noise(model: nn.Module) -> Iterator[None]:
    """Have every V1 block in `model` give its mean response within the context.

    The three contexts belong to the thread, or the asynchronous task, that opens them: others that
    share the model do not see them. A new thread begins without them, unless it runs in a copy of
    the context (`contextvars.copy_context().run`); replicas of `DataParallel` have them. A copy
    that is made of the model inside has them until they end.
    """
    with _switched(model, Switch(set(), silent=True)):
        yield


@contextmanager
def fixed_noise(model: nn.Module, seed: int) -> Iterator[None]:
    """Have every pass and every image meet the same draw, set by `seed` (0 is a seed).

    The draw depends neither on the batch's size nor on an image's place in it. It is numpy's, on
    the CPU, so that it does not depend on the device and is no random operation to
    `torch.func.vmap`. For threads and copies see `no_noise`.
    """
    with _switched(model, Switch(set(), seed=whole("seed", seed, 0, LARGEST_SEED))):
        yield


@contextmanager
def noise_generator(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Draw the noise from `generator`, on its own device, instead of torch's global one.

    For threads and copies see `no_noise`.
    """
    if not isinstance(generator, torch.Generator):
        raise InputError(f"generator must be a torch.Generator, got {generator!r}")
    with _switched(model, Switch(set(), generator=generator)):
        yield


@contextmanager
def _switched(model: nn.Module, switch: Switch) -> Iterator[None]:
    """Turn a switch on for every noise stage of a model, in this context alone."""
    switch.stages.update(_keys(model))
    _SWITCHES.set((*_SWITCHES.get(), switch))
    try:
        yield
    finally:
        # Not by a token: contexts of interleaved generators do not end in the order they began.
        _SWITCHES.set(tuple(each for each in _SWITCHES.get() if each is not switch))


def _keys(model: nn.Module) -> Iterator[str]:
    """Yield the keys of the noise stages of a model, symbolically traced or not."""
    for module in model.modules():
        if isinstance(module, Noise):
            yield module._key
        elif isinstance(module, torch.fx.GraphModule):
            yield from (n.args[3] for n in module.graph.nodes if n.target is switched_noise)

"""Neuronal stochasticity: noise on the V1 cells' mean responses, fresh, repeated, or off.

After Dapello, Marques et al. 2020. A response x is read as s x + l spikes in a window of 25 ms;
spike counts vary like a Poisson process (variance = mean, Fano factor 1), approximated by a
Gaussian:

    x' = x + N(0, 1) sqrt(max(s x + l, 0) + 1e-4) / s

The noise belongs to the model: it is there in training and in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.fast_noise import NeuronalResponse, is_recorded, neuronal_deviation

NOISE_MODES = ("neuronal", "gaussian", None)
StandardNormal = Callable[[Tensor], Tensor]  # a draw that broadcasts to the given responses


class Noise(nn.Module):
    """Adds noise to mean responses and rectifies them.

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
        """Standard deviation of the response, before rectification, at each mean (any shape)."""
        if self.mode == "neuronal":
            return neuronal_deviation(mean_response, self.scale, self.level)
        return self.scale if self.mode == "gaussian" else 0.0

    def forward(self, mean_response: Tensor, standard_normal: Tensor | None = None) -> Tensor:
        """Noisy responses >= 0, of the shape of `mean_response`.

        Args:
            mean_response: any shape; B, C, H, W for images.
            standard_normal: the draw to use instead of a new one, broadcast to the responses.
        """
        if self.mode is None:
            return F.relu(mean_response)
        if standard_normal is None and self.draw is not None:
            standard_normal = self.draw(mean_response)
        return add_noise(mean_response, standard_normal, self.mode, self.scale, self.level)

    def extra_repr(self) -> str:
        """Settings, for the printed model."""
        return f"{self.mode}, scale={self.scale}, level={self.level}"


@torch.fx.wrap
def add_noise(
    mean: Tensor, standard_normal: Tensor | None, mode: str, scale: float, level: float
) -> Tensor:
    """max(x + z sd(x), 0) for a mean response x and a draw z, new if there is none."""
    if mode == "neuronal" and mean.device.type == "cpu" and not is_recorded():
        noisy: Tensor = NeuronalResponse.apply(mean, standard_normal, scale, level)
        return noisy
    z = drawn_like(mean) if standard_normal is None else standard_normal
    deviation = scale if mode == "gaussian" else neuronal_deviation(mean, scale, level)
    return F.relu(mean + z * deviation)


def drawn_like(mean: Tensor) -> Tensor:
    """A new standard normal draw of the shape of `mean`, from torch's generator of its device."""
    if mean.device.type == "cpu" and mean.dim() == 4:
        # Where channels come last, `randn_like` takes ten times as long on the CPU.
        batch, channels, height, width = mean.shape
        draw = torch.randn(batch, height, width, channels, dtype=mean.dtype)
        return draw.permute(0, 3, 1, 2)
    return torch.randn_like(mean)


def check_noise(mode: str | None, scale: float, level: float) -> None:
    """Raise InputError unless these settings make a noise model."""
    if mode not in NOISE_MODES:
        raise InputError(f"noise must be 'neuronal', 'gaussian' or None, got {mode!r}")
    if not scale > 0:
        raise InputError(f"noise_scale must be positive (noise=None is silence), got {scale}")
    if not level >= 0:
        raise InputError(f"noise_level must be 0 or more, got {level}")


class Repeated:
    """The same draw for every image, wherever it stands in a batch of any size.

    Drawn by numpy on the CPU, so that it neither depends on the device nor is a random operation to
    `torch.func.vmap`.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._drawn: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, like: Tensor) -> Tensor:
        """A draw of one image's shape, (1, C, H, W)."""
        shape = (1, *like.shape[1:])
        if shape not in self._drawn:
            draw = np.random.default_rng(self.seed).standard_normal(shape, dtype=np.float32)
            self._drawn[shape] = torch.from_numpy(draw)
        return self._drawn[shape].to(like.device, like.dtype)


class FromGenerator:
    """A new draw for every element, from the given generator on its own device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __call__(self, like: Tensor) -> Tensor:
        """A draw of the responses' shape."""
        draw = torch.randn(like.shape, generator=self.generator, device=self.generator.device)
        return draw.to(like.device, like.dtype)


@contextmanager
def no_noise(model: nn.Module) -> Iterator[None]:
    """Within: every V1 block in `model` gives its mean response."""
    stages = _noise_stages(model)
    modes = [stage.mode for stage in stages]
    for stage in stages:
        stage.mode = None
    try:
        yield
    finally:
        for stage, mode in zip(stages, modes, strict=True):
            stage.mode = mode


@contextmanager
def fixed_noise(model: nn.Module, seed: int) -> Iterator[None]:
    """Within: every pass and every image meets the same draw, set by `seed` (0 is a seed)."""
    with _drawing(model, Repeated(seed)):
        yield


@contextmanager
def noise_generator(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Within: the noise is drawn from `generator` instead of torch's global one."""
    with _drawing(model, FromGenerator(generator)):
        yield


@contextmanager
def _drawing(model: nn.Module, draw: StandardNormal) -> Iterator[None]:
    stages = _noise_stages(model)
    previous = [stage.draw for stage in stages]
    for stage in stages:
        stage.draw = draw
    try:
        yield
    finally:
        for stage, before in zip(stages, previous, strict=True):
            stage.draw = before


def _noise_stages(model: nn.Module) -> list[Noise]:
    return [module for module in model.modules() if isinstance(module, Noise)]

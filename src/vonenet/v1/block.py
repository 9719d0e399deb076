"""The V1 block: filter bank -> simple and complex cells -> gain -> neuronal noise -> rectification.

Written from science.md 1.1 and 1.3. Children carry the published names, so that published weights
load and published layer names can be hooked.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError, VOneNetWarning
from vonenet.v1 import fast
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.filterbank import FilterBank, PhaseWeights
from vonenet.v1.gabor import SamplingReport, colored, gabor_kernels, sampling_report
from vonenet.v1.noise import Noise
from vonenet.v1.parameters import GaborParameters, draw_parameters


class SimpleCells(nn.Module):
    """Half-wave rectified linear responses."""

    def forward(self, q0: Tensor) -> Tensor:
        """Responses of the shape of `q0`."""
        return F.relu(q0)


class Magnitude(torch.autograd.Function):
    """sqrt(q0^2 + q1^2), with gradient 0 where both are 0: there the root has none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(q0: Tensor, q1: Tensor) -> Tensor:
        """The magnitude, in one pass and without underflow."""
        return torch.hypot(q0, q1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the gradient is made of."""
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient times the pair's direction."""
        q0, q1, magnitude = ctx.saved_tensors
        length = magnitude.masked_fill(magnitude == 0, torch.inf)
        return gradient * (q0 / length), gradient * (q1 / length)


class ComplexCells(nn.Module):
    """Magnitude of a quadrature pair, over sqrt(2), so that both cell types have one scale."""

    def forward(self, q0: Tensor, q1: Tensor) -> Tensor:
        """Responses of the shape of `q0`; the gradient at silence (both phases 0) is 0."""
        magnitude: Tensor = Magnitude.apply(q0, q1)
        return magnitude * math.sqrt(0.5)


# Children that `fast.py` stands in for, unless somebody replaced or hooked one of them.
CHILD_TYPES: dict[str, type[nn.Module]] = {
    "simple_conv_q0": PhaseWeights,
    "simple_conv_q1": PhaseWeights,
    "filter_bank": FilterBank,
    "simple": SimpleCells,
    "complex": ComplexCells,
    "gabors": nn.Identity,
    "noise": Noise,
    "output": nn.ReLU,
}


class VOneBlock(nn.Module):
    """A fixed model of primary visual cortex: images in, simple and complex cells' responses out.

    Args:
        config: settings; see `VOneBlockConfig` for each, its unit and its default.
        gabor_parameters: the filters themselves, instead of drawing them.
        **settings: any field of `VOneBlockConfig`, over those of `config`.

    Attributes:
        config: the settings with every default filled in.
        gabor_parameters: what the filters were made from; None where only weights are known.

    Raises:
        InputError: a setting that cannot be used.
        TypeError: a setting that does not exist.

    Warns:
        VOneNetWarning: filters that alias at this pixel grid, or are cut off by their kernel.
    """

    def __init__(
        self,
        config: VOneBlockConfig | None = None,
        *,
        gabor_parameters: GaborParameters | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = dataclasses.replace(config or VOneBlockConfig(), **settings)
        if gabor_parameters is not None:
            config = dataclasses.replace(config, filters="given")
        self.config = config = config.resolved()
        self.gabor_parameters = gabor_parameters or _drawn(config)
        weight_q0, weight_q1 = self._weights()
        self.simple_conv_q0 = PhaseWeights(weight_q0)
        self.simple_conv_q1 = PhaseWeights(weight_q1)
        self.filter_bank = FilterBank(config.simple_channels, config.stride or 1)
        self.simple = SimpleCells()
        self.complex = ComplexCells()
        self.gabors = nn.Identity()
        self.noise = Noise(config.noise, config.noise_scale, config.noise_level)
        self.output = nn.ReLU()
        self.filter_bank.follow(weight_q0, weight_q1)
        self._warn_of_broken_filters()

    @property
    def out_channels(self) -> int:
        """Number of cells at each position, simple ones first."""
        return self.config.out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Noisy, rectified responses to normalised images.

        Args:
            images: B, in_chans, H, W with any H and W.

        Returns:
            Responses >= 0, shape (B, simple + complex, ceil(H / stride), ceil(W / stride)).
        """
        needs_gradient = torch.is_grad_enabled() and images.requires_grad
        if needs_gradient or not self._is_fast_from(images):
            return self.respond(self.mean_response(images))
        images = _as_autocast(images)
        return fast.noisy_response(images, self.filter_bank, self.config.k_exc, self.noise)

    def mean_response(self, images: Tensor) -> Tensor:
        """Responses before noise: what the noisy responses scatter around. Shapes as `forward`."""
        if not self._is_fast_from(images):
            return self._mean_response_by_definition(images)
        responses: Tensor = fast.MeanResponse.apply(
            _as_autocast(images),
            self.filter_bank,
            self.config.k_exc,
            self._mean_response_by_definition,
        )
        return responses

    def respond(self, mean_response: Tensor, standard_normal: Tensor | None = None) -> Tensor:
        """One draw of noise on a mean response, rectified: k draws cost one pass of the filters.

        Args:
            mean_response: B, C, H, W from `mean_response`, repeated as often as wanted.
            standard_normal: the draw to use, broadcast to the responses, instead of a new one.
        """
        if self._is_fast(mean_response):
            responses: Tensor = fast.RectifiedNoise.apply(
                mean_response, self.noise, standard_normal
            )
        else:
            responses = self.output(self.noise(mean_response, standard_normal))
        return responses

    def _mean_response_by_definition(self, images: Tensor) -> Tensor:
        q0, q1 = self.linear_response(images)
        n_simple = self.config.simple_channels
        simple = self.simple(q0[:, :n_simple])
        complex_ = self.complex(q0[:, n_simple:], q1)
        cells: Tensor = self.gabors(self.config.k_exc * torch.cat([simple, complex_], dim=1))
        return cells

    def _is_fast_from(self, images: Tensor) -> bool:
        """Whether `fast.py` may take the images, which are checked, as are the weights."""
        self._check_images(images)
        if not torch.compiler.is_compiling():
            self.filter_bank.follow(self.simple_conv_q0.weight, self.simple_conv_q1.weight)
        return self.filter_bank.is_fast(images) and self._is_fast(images)

    def _is_fast(self, tensor: Tensor) -> bool:
        """Whether the children are ours and unwatched, so that `fast.py` may do their work."""
        children = [getattr(self, name) for name in CHILD_TYPES]
        known = all(type(c) is t for c, t in zip(children, CHILD_TYPES.values(), strict=True))
        return known and fast.applies(tensor, children)

    def linear_response(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Filter outputs: phase 0 of all cells, and phase 90 of the complex cells.

        Raises:
            InputError: images that are not a batch with the block's number of channels.
        """
        self._check_images(images)
        if not torch.compiler.is_compiling():
            self.filter_bank.follow(self.simple_conv_q0.weight, self.simple_conv_q1.weight)
        q0, q1 = self.filter_bank(images)
        return self.simple_conv_q0(q0), self.simple_conv_q1(q1)

    def set_noise_mode(
        self,
        noise_mode: str | None = None,
        noise_scale: float | None = None,
        noise_level: float | None = None,
    ) -> None:
        """Switch the noise for good; `no_noise` and `fixed_noise` do so for a while."""
        self.noise.set(noise_mode, noise_scale, noise_level)
        self.config = dataclasses.replace(
            self.config,
            noise=self.noise.mode,
            noise_scale=self.noise.scale,
            noise_level=self.noise.level,
        )

    def sampling_report(self) -> SamplingReport | None:
        """What the pixel grid and the kernels do to the filters; None where those are unknown."""
        if self.gabor_parameters is None:
            return None
        kernel_size = self.simple_conv_q0.weight.shape[-1]
        return sampling_report(self.gabor_parameters, self.config.pixels_per_degree, kernel_size)

    def extra_repr(self) -> str:
        """Geometry, for the printed model."""
        c = self.config
        return (
            f"{c.simple_channels} simple + {c.complex_channels} complex cells, "
            f"{c.pixels_per_degree:.3g} px/degree, {c.kernel_size} px kernels, stride {c.stride}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast: the derived kernels go along, and need not be derived anew."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.filter_bank.follows(self.simple_conv_q0.weight, self.simple_conv_q1.weight)
        return self

    def _check_images(self, images: Tensor) -> None:
        if images.dim() != 4 or images.shape[1] != self.config.in_chans:
            raise InputError(
                f"images must have shape (batch, {self.config.in_chans}, height, width), "
                f"got {tuple(images.shape)}"
            )

    def _weights(self) -> tuple[Tensor, Tensor]:
        """Dense weights of both phases, float32; zeros until weights from elsewhere are loaded."""
        c, parameters = self.config, self.gabor_parameters
        assert c.kernel_size is not None
        if parameters is None:
            shape = (c.out_channels, c.in_chans, c.kernel_size, c.kernel_size)
            return torch.zeros(shape), torch.zeros(shape)
        if len(parameters) != c.out_channels:
            raise InputError(
                f"simple_channels + complex_channels = {c.out_channels} cells need as many Gabor "
                f"parameters, got {len(parameters)}"
            )
        q0, q1 = (
            gabor_kernels(parameters, c.pixels_per_degree, c.kernel_size, phase_shift_deg=shift)
            for shift in (0.0, 90.0)
        )
        return (
            colored(q0, parameters.color_channel, c.in_chans).float(),
            colored(q1, parameters.color_channel_q1, c.in_chans).float(),
        )

    def _warn_of_broken_filters(self) -> None:
        report = self.sampling_report()
        for remedy in report.remedies if report else ():
            warnings.warn(remedy, VOneNetWarning, stacklevel=3)


def _as_autocast(images: Tensor) -> Tensor:
    """The images in the precision that autocast asks for, if it does."""
    device = images.device.type
    return (
        images.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else images
    )


def _drawn(config: VOneBlockConfig) -> GaborParameters | None:
    if config.filters == "given":
        return None
    assert config.sf_max is not None
    return draw_parameters(
        config.out_channels,
        filters=config.filters,
        seed=config.seed,
        color_seed=config.color_seed,
        sf_min=config.sf_min,
        sf_max=config.sf_max,
        sf_corr=config.sf_corr,
        in_chans=config.in_chans,
    )

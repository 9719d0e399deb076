"""The V1 block: filter, rectify or magnitude, gain, normalisation, noise. The idea is all here.

After Dapello, Marques et al. 2020 (NeurIPS 33), section 3, and the published code. Children carry
the published names, so that published weights load and published layer names can be hooked.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError, VOneNetWarning
from vonenet.v1.checks import check_is_tensor
from vonenet.v1.config import FIELDS, VOneBlockConfig, drawn_parameters
from vonenet.v1.filterbank import FilterBank, filter_images
from vonenet.v1.gabor import (
    SamplingReport,
    aliased_and_truncated,
    quadrature_weights,
    sampling_report,
)
from vonenet.v1.noise import Noise, is_plain
from vonenet.v1.old_names import current_names
from vonenet.v1.original import OriginalNames
from vonenet.v1.parameters import GaborParameters
from vonenet.v1.push_pull import PushPull, pull_weights
from vonenet.v1.trainable import GaborBank

torch.fx.wrap("filter_images")


class SimpleCells(nn.Module):
    """Half-wave rectified linear responses."""

    def forward(self, q0: Tensor) -> Tensor:
        """Return responses of the shape of `q0`."""
        return F.relu(q0)


class ComplexCells(nn.Module):
    """Magnitude of a quadrature pair, over sqrt(2), so that both cell types have one scale."""

    def forward(self, q0: Tensor, q1: Tensor) -> Tensor:
        """Return responses of the shape of `q0`; the gradient is 0 where both phases are 0."""
        return magnitude(q0, q1) * math.sqrt(0.5)


class Magnitude(torch.autograd.Function):
    """sqrt(q0^2 + q1^2), with gradient 0 where both are 0: there the root has none.

    Written out because PyTorch's own with this gradient, `linalg.vector_norm`, takes a hundred
    times as long on the CPU where channels come last.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(q0: Tensor, q1: Tensor) -> Tensor:
        """Compute the magnitude, in one pass and without underflow."""
        return torch.hypot(q0, q1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the gradient needs."""
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient times the pair's direction."""
        q0, q1, length = ctx.saved_tensors
        length = length.masked_fill(length == 0, torch.inf)
        return gradient * (q0 / length), gradient * (q1 / length)


@torch.fx.wrap
def magnitude(q0: Tensor, q1: Tensor) -> Tensor:
    """Return the length of the pair (q0, q1)."""
    length: Tensor = plain_magnitude(q0, q1) if is_plain() else Magnitude.apply(q0, q1)
    return length


def plain_magnitude(q0: Tensor, q1: Tensor) -> Tensor:
    """Return what `Magnitude` does, by operations that every format has: ONNX has no hypot.

    The longer side times the root of 1 and more: nothing underflows, and the gradient is finite.
    """
    a, b = q0.abs(), q1.abs()
    longer, shorter = torch.maximum(a, b), torch.minimum(a, b)
    ratio = shorter / longer.masked_fill(longer == 0, 1)
    length: Tensor = longer * (1 + ratio * ratio).sqrt()
    return length


@torch.fx.wrap
def check_images(images: Tensor, weight: Tensor, typed: str = "images / 127.5 - 1") -> None:
    """Raise InputError unless images are a batch of numbers that the weights can be applied to.

    Args:
        images: what is checked.
        weight: numbers that images are weighed by, the channels that they read second.
        typed: what makes images of pixels of 0 to 255.
    """
    check_is_tensor(images)
    if images.dim() != 4 or images.shape[1] != weight.shape[1] or 0 in images.shape[2:]:
        raise InputError(
            f"images must have shape (batch, {weight.shape[1]}, height, width) with 1 pixel or "
            f"more, got {tuple(images.shape)}"
        )
    if not images.is_floating_point():
        raise InputError(
            f"images must be floating-point numbers, got {images.dtype}; for pixels of 0 to 255 "
            f"type {typed}"
        )
    if images.dtype != weight.dtype and not (
        torch.is_autocast_enabled(images.device.type) and images.dtype != torch.float64
    ):
        raise InputError(
            f"images are {images.dtype}, the filters {weight.dtype}; type images.to({weight.dtype})"
        )


class VOneBlock(OriginalNames):
    """A fixed model of primary visual cortex: images in, simple and complex cells' responses out.

    Args:
        config: settings; see `VOneBlockConfig` for each, its unit and its default.
        gabor_parameters: the filters themselves, instead of drawing them.
        **settings: any field of `VOneBlockConfig`, over those of `config`; some also by the names
            that the original package gives them.

    A built block keeps its filters and its geometry. What can be assigned is `noise_mode`,
    `noise_scale`, `noise_level`, `k_exc`, `fixed_noise`, `way`, the weights, and any child. Any
    other setting raises an error that says what to type; other names are the user's own.

    Attributes:
        settings: what was built, every default filled in; `config` with the noise as it was.
        way: how filters are applied, `fourier` or a name in `filterbank.WAYS`; None: the fastest.

    Raises:
        InputError: a setting that cannot be used.
        TypeError: a setting that does not exist.

    Warns:
        VOneNetWarning: filters that alias at this pixel grid, or are cut off by their kernel.
    """

    gabor_bank: GaborBank | None
    push_pull: PushPull | None
    _made_from: GaborParameters | None
    reads = "normalized"  # images, of mean 0.5 and standard deviation 0.5

    def __init__(
        self,
        config: VOneBlockConfig | None = None,
        *,
        gabor_parameters: GaborParameters | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        c = dataclasses.replace(config or VOneBlockConfig(), **current_names(settings, FIELDS))
        if gabor_parameters is not None:
            c = dataclasses.replace(c, filters="given")
        c = c.resolved()
        vars(self).update(settings=c, _made_from=gabor_parameters or drawn_parameters(c))
        weight_q0, weight_q1, *pull = _weights(self._made_from, c)
        assert c.stride is not None
        assert c.kernel_size is not None
        self.register_module("gabor_bank", None)
        if c.trainable:
            self.gabor_bank = GaborBank(self._made_from, c)
        fixed = not c.trainable
        self.simple_conv_q0 = FilterBank(weight_q0 if fixed else None, c.stride)
        self.simple_conv_q1 = FilterBank(weight_q1 if fixed else None, c.stride, c.simple_channels)
        self.simple = SimpleCells()
        self.complex = ComplexCells()
        self.register_module("push_pull", None)
        if c.push_pull is not None:
            self.push_pull = PushPull(c.push_pull, pull[0], c.stride)
        self.gabors = nn.Identity()
        self.register_module("normalization", None)
        if c.normalization is not None:
            positions_per_degree = c.pixels_per_degree / c.stride
            self.normalization = c.normalization.build(
                c.out_channels, self._made_from, positions_per_degree
            )
        law: dict[str, Any] = {
            "fano": c.fano_factor,
            "floor": c.noise_floor,
            "rectified": c.rectified,
        }
        self.noise = Noise(c.noise, c.noise_scale, c.noise_level, **law)
        self.output = nn.Identity()
        self.way: str | None = None
        if self._made_from is not None:
            geometry = self._made_from, c.pixels_per_degree, c.kernel_size
            for remedy in aliased_and_truncated(*geometry)[2]:
                warnings.warn(remedy, VOneNetWarning, stacklevel=2)

    def forward(self, images: Tensor) -> Tensor:
        """Compute noisy, rectified responses to normalised images.

        Args:
            images: B, in_chans, H, W with any H and W.

        Returns:
            Responses >= 0, shape (B, simple + complex, ceil(H / stride), ceil(W / stride)).
        """
        return self.respond(self.mean_response(images))

    def mean_response(self, images: Tensor) -> Tensor:
        """Compute responses before noise, which the noisy ones scatter around. Shapes as `forward`.

        Raises:
            InputError: images that are not a batch with the block's number of channels.
        """
        c, n_simple = self.settings, self.settings.simple_channels
        w0, w1 = self.filter_weights()
        check_images(images, w0)
        q0, q1 = filter_images(images, w0, w1, self.simple_conv_q0.stride, n_simple, self.way)
        q0 = self.simple_conv_q0(images, q0)  # phase 0 of all cells
        q1 = self.simple_conv_q1(images, q1)  # phase 90 of complex cells
        of_simple, of_complex = q0.split([n_simple, c.complex_channels], dim=1)
        simple = self.simple(of_simple)
        if self.push_pull is not None:
            simple = self.push_pull(simple, images)
        complex_ = self.complex(of_complex, q1)
        cells: Tensor = self.gabors(torch.cat([simple, complex_], dim=1).mul_(c.k_exc))
        if self.normalization is not None:
            cells = self.normalization(cells)
        return cells

    def filter_weights(self) -> tuple[Tensor, Tensor]:
        """Return the weights of both phases as they are now, (cells, in_chans, k, k) each."""
        if self.gabor_bank is not None:
            weights: tuple[Tensor, Tensor] = self.gabor_bank()
            return weights
        return self.simple_conv_q0.weight, self.simple_conv_q1.weight

    def respond(self, mean_response: Tensor, standard_normal: Tensor | None = None) -> Tensor:
        """Draw noise on a mean response and rectify: k draws cost one pass of the filters.

        Args:
            mean_response: B, C, H, W from `mean_response`, repeated as often as wanted.
            standard_normal: the draw to use, broadcast to the responses, instead of a new one.
        """
        # A module in the place of the noise need not know the second argument.
        draw = () if standard_normal is None else (standard_normal,)
        responses: Tensor = self.output(self.noise(mean_response, *draw))
        return responses

    def spikes(self, responses: Tensor) -> Tensor | None:
        """Return the spikes in 25 ms that responses stand for; None without neuronal noise."""
        if not isinstance(self.noise, Noise) or self.noise.mode != "neuronal":
            return None
        return self.noise.scale * responses + self.noise.level

    @property
    def config(self) -> VOneBlockConfig:
        """The settings as they are now, every default filled in."""
        if not isinstance(self.noise, Noise):
            return self.settings
        mode, scale, level = self.noise.mode, self.noise.scale, self.noise.level
        return dataclasses.replace(self.settings, noise=mode, noise_scale=scale, noise_level=level)

    @property
    def gabor_parameters(self) -> GaborParameters | None:
        """What the filters are made from; None where they are not, as after loading others.

        Of trainable filters, the parameters as they are now.
        """
        if self.gabor_bank is not None:
            return self.gabor_bank.gabor_parameters()
        banks = [self.simple_conv_q0, self.simple_conv_q1]
        if self.push_pull is not None:
            banks.append(self.push_pull.pull)
        if self._made_from is None or any(bank.weight.is_meta for bank in banks):
            return self._made_from
        made = _made(self._made_from, self.settings, *banks[0].weight.shape[2:0:-1])
        found = (bank.weight.detach().to(made[0]) for bank in banks)
        return self._made_from if all(map(_nearly_equal, found, made)) else None

    def sampling_report(self) -> SamplingReport | None:
        """Report what pixel grid and kernels do to the filters; None if those are unknown."""
        parameters = self.gabor_parameters
        if parameters is None:
            return None
        return sampling_report(
            parameters,
            self.settings.pixels_per_degree,
            self.filter_weights()[0].shape[-1],
            simple_channels=self.settings.simple_channels,
            dc_balanced=self.settings.dc_balanced,
        )

    def extra_repr(self) -> str:
        """Return the geometry, for the printed model."""
        c = self.config
        return (
            f"{c.simple_channels} simple + {c.complex_channels} complex cells, "
            f"{c.pixels_per_degree:.3g} px/degree, {c.kernel_size} px kernels, stride {c.stride}, "
            f"noise {c.noise}"
        )


def _nearly_equal(found: Tensor, made: Tensor) -> bool:
    """Tell whether kernels agree but for rounding, to bfloat16 as the coarsest."""
    largest = made.abs().amax((1, 2, 3), keepdim=True)
    return found.shape == made.shape and bool(((found - made).abs() <= 0.005 * largest).all())


def _weights(parameters: GaborParameters | None, config: VOneBlockConfig) -> list[Tensor]:
    """Return what `_made` does; NaN where weights are still to be loaded."""
    n, k = config.out_channels, config.kernel_size
    assert k is not None
    if parameters is None:
        shapes = [(n, k), (n, k)]
        if config.push_pull is not None:
            shapes.append((config.simple_channels, config.push_pull.kernel_size(k)))
        return [torch.full((m, config.in_chans, side, side), torch.nan) for m, side in shapes]
    if len(parameters) != n:
        raise InputError(
            f"simple_channels + complex_channels = {n} cells need as many Gabor parameters, got "
            f"{len(parameters)}"
        )
    return _made(parameters, config, k, config.in_chans)


def _made(p: GaborParameters, config: VOneBlockConfig, k: int, in_chans: int) -> list[Tensor]:
    """Return both phases of all cells and, with push-pull, the pull filters of simple cells."""
    scale, balanced = config.pixels_per_degree, config.dc_balanced
    weights = [*quadrature_weights(p, scale, k, in_chans, balanced)]
    if config.push_pull is not None:
        pull = pull_weights(p, config.push_pull, scale, k, in_chans, balanced)
        weights.append(pull[: config.simple_channels])
    return weights

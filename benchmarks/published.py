"""What was published, done plainly: the baselines, and oracles for tests.

The V1 block from Dapello, Marques et al. 2020 (NeurIPS 33), section 3: two dense convolutions of
all filters on all three colours, and the noise as a chain of whole-tensor steps. The front-end of
2025 from Piper, Oliveira & Marques 2025 (arXiv 2506.03089) and the layout of its published code:
dense kernels of 19 to 69 px with reflected borders, at full resolution.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet import VOneBlock
from vonenet.errors import InputError
from vonenet.frontends.front_end import FrontEnd
from vonenet.frontends.subcortical import (
    COLORS,
    M_CELLS,
    P_CELLS,
    CellType,
    Subcortical,
    SubcorticalConfig,
)
from vonenet.model import VOneNet


class PublishedBlock(nn.Module):
    """The filters and settings of one of our blocks, and the published steps.

    Args:
        block: a block with neuronal noise or none; its weights are copied.
        least_weight: weights with a smaller absolute value are set to 0. Below about 1e-30 they
            make subnormal numbers, with which some processors are many times slower.

    Raises:
        InputError: another noise mode.
    """

    weight_q0: Tensor
    weight_q1: Tensor

    def __init__(self, block: VOneBlock, least_weight: float = 0.0) -> None:
        super().__init__()
        c = block.config
        if c.noise not in ("neuronal", None):
            raise InputError(f"the published formula has neuronal noise or none, got {c.noise!r}")
        self.noise, self.scale, self.level = c.noise, c.noise_scale, c.noise_level
        self.fano, self.floor, self.rectified = c.fano_factor, c.noise_floor, c.rectified
        self.simple_channels, self.k_exc, self.stride = c.simple_channels, c.k_exc, c.stride or 1
        for name, bank in (
            ("weight_q0", block.simple_conv_q0),
            ("weight_q1", block.simple_conv_q1),
        ):
            weight = bank.weight.detach()
            self.register_buffer(name, weight.masked_fill(weight.abs() < least_weight, 0))

    def forward(self, images: Tensor) -> Tensor:
        """Compute noisy, rectified responses, shaped as those of `VOneBlock`."""
        mean = self.mean_response(images)
        responses = mean if self.noise is None else self._noisy(mean)
        return F.relu(responses) if self.rectified else responses

    def mean_response(self, images: Tensor) -> Tensor:
        """Compute responses before noise; their gradient is NaN where both phases are 0."""
        n, padding = self.simple_channels, self.weight_q0.shape[-1] // 2
        q0 = F.conv2d(images, self.weight_q0, stride=self.stride, padding=padding)
        q1 = F.conv2d(images, self.weight_q1, stride=self.stride, padding=padding)
        complex_ = torch.sqrt(q0[:, n:] ** 2 + q1[:, n:] ** 2) / math.sqrt(2)
        return self.k_exc * torch.cat([F.relu(q0[:, :n]), complex_], dim=1)

    def _noisy(self, mean: Tensor) -> Tensor:
        if mean.requires_grad:
            spikes = self.scale * mean + self.level
            spikes = spikes + torch.randn_like(spikes) * self._deviation(spikes)
            return (spikes - self.level) / self.scale
        spikes = mean.mul_(self.scale).add_(self.level)
        spikes += torch.randn_like(spikes) * self._deviation(spikes)
        return spikes.sub_(self.level).div_(self.scale)

    def _deviation(self, spikes: Tensor) -> Tensor:
        return torch.sqrt(self.fano * F.relu(spikes) + self.floor)


class PublishedSubcortical(nn.Module):
    """The subcortical stage of 2025 with all its parts, by dense convolutions.

    Args:
        stage: the stage of ours whose settings and scale it has.

    Raises:
        InputError: a stage without one of the parts.
    """

    def __init__(self, stage: Subcortical) -> None:
        super().__init__()
        if stage.config != SubcorticalConfig(noise=stage.config.noise):
            raise InputError(f"the published form has all parts, got {stage.config}")
        self.noise, self.scale = stage.config.noise, stage.pixels_per_degree / 32
        self.p_kernels, self.m_kernels = (
            nn.Parameter(self._opponent(cells, colors), requires_grad=False)
            for cells, colors in ((P_CELLS, ("r/g", "g/r", "b/y")), (M_CELLS, ("w/b",)))
        )
        self.p_pool, self.m_pool = (
            nn.Parameter(self._pool(cells).expand(n, 1, -1, -1).clone(), requires_grad=False)
            for cells, n in ((P_CELLS, 3), (M_CELLS, 1))
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute noisy responses, shaped as those of `Subcortical`."""
        mean = pixels.mean((1, 2, 3), keepdim=True)
        contrasts = (pixels - mean) / (mean + 1e-5)
        p = self._normalized(_reflected(contrasts, self.p_kernels), self.p_pool, P_CELLS)
        m = self._normalized(_reflected(contrasts, self.m_kernels), self.m_pool, M_CELLS)
        x = torch.cat([P_CELLS.gain * p, M_CELLS.gain * m], dim=1)
        if self.noise is None:
            return x
        return x + torch.randn_like(x) * torch.sqrt(0.4 * (x.abs() + 1e-5))

    def _gaussian(self, radius_px: float, side: int) -> Tensor:
        d = torch.arange(side) - side // 2
        return torch.exp(-(d[:, None] ** 2 + d**2) / (radius_px * self.scale) ** 2)

    def _side(self, radius_px: float) -> int:
        sigma = radius_px * self.scale / math.sqrt(2)
        return 2 * math.ceil(math.sqrt(-2 * math.log(0.25)) * sigma) + 1

    def _opponent(self, cells: CellType, colors: tuple[str, ...]) -> Tensor:
        side = self._side(cells.surround_px)
        center = self._gaussian(cells.center_px, side)
        surround = cells.surround_weight * self._gaussian(cells.surround_px, side)
        pairs = [[torch.tensor(c)[:, None, None] for c in COLORS[color]] for color in colors]
        kernels = torch.stack([a * center + b * surround for a, b in pairs])
        return kernels / kernels.sum((1, 2, 3), keepdim=True).abs()

    def _pool(self, cells: CellType) -> Tensor:
        pool = self._gaussian(cells.pool_px, self._side(cells.pool_px))
        return pool / pool.sum()

    def _normalized(self, x: Tensor, pool: Tensor, cells: CellType) -> Tensor:
        contrast = _reflected(x**2, pool, groups=x.shape[1]).sqrt()
        return x / (contrast + cells.c50) ** cells.exponent


def _reflected(images: Tensor, kernels: Tensor, groups: int = 1) -> Tensor:
    pad = kernels.shape[-1] // 2
    return F.conv2d(F.pad(images, (pad,) * 4, mode="reflect"), kernels, groups=groups)


class PublishedFrontEnd(nn.Module):
    """The published forms of the subcortical stage and V1, one after the other.

    Args:
        front_end: the front-end of ours whose weights and settings it has.
        least_weight: as for `PublishedBlock`.
    """

    def __init__(self, front_end: FrontEnd, least_weight: float = 0.0) -> None:
        super().__init__()
        subcortical, v1 = front_end.stages
        self.subcortical = PublishedSubcortical(subcortical)
        self.vone_block = PublishedBlock(v1, least_weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute noisy responses to pixels (B, 3, H, W)."""
        responses: Tensor = self.vone_block(self.subcortical(pixels))
        return responses


class PublishedNet(nn.Module):
    """The published block, then copies of the bottleneck and the back-end of one of our networks.

    Args:
        model: the network.
        least_weight: as for `PublishedBlock`.
    """

    def __init__(self, model: VOneNet, least_weight: float = 0.0) -> None:
        super().__init__()
        self.vone_block = PublishedBlock(model.vone_block, least_weight)
        self.bottleneck, self.model = copy.deepcopy(model.bottleneck), copy.deepcopy(model.model)
        self.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, num_classes) of normalised images (B, 3, H, W)."""
        logits: Tensor = self.model(self.bottleneck(self.vone_block(images)))
        return logits

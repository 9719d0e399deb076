"""The V1 block as its formula was published, done plainly: the baseline, and an oracle for tests.

Written from Dapello, Marques et al. 2020 (NeurIPS 33), section 3: two dense convolutions of all
filters on all three colours, and the noise as a chain of whole-tensor steps.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet import VOneBlock
from vonenet.errors import InputError
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
        return F.relu(mean if self.noise is None else self._noisy(mean))

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
            spikes = spikes + torch.randn_like(spikes) * torch.sqrt(F.relu(spikes) + 1e-4)
            return (spikes - self.level) / self.scale
        spikes = mean.mul_(self.scale).add_(self.level)
        spikes += torch.randn_like(spikes) * torch.sqrt(F.relu(spikes) + 1e-4)
        return spikes.sub_(self.level).div_(self.scale)


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

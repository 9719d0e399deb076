"""The V1 block as its formula was published, done plainly: what this package is measured against.

Written from science.md 1.1 and 1.3: two dense convolutions of all filters on all three colours, and
the noise as a chain of whole-tensor steps.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.model import VOneNet
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import VARIANCE_FLOOR


class PublishedBlock(nn.Module):
    """The plain reference: the filters and settings of one of our blocks, the published steps.

    Args:
        block: a block with neuronal noise or none; its weights are copied.

    Raises:
        InputError: another noise mode.
    """

    weight_q0: Tensor
    weight_q1: Tensor

    def __init__(self, block: VOneBlock) -> None:
        super().__init__()
        config = block.config
        if config.noise not in ("neuronal", None):
            raise InputError(f"the published formula has neuronal noise or none, {config.noise!r}")
        self.noise, self.scale, self.level = config.noise, config.noise_scale, config.noise_level
        self.simple_channels, self.k_exc = config.simple_channels, config.k_exc
        self.stride = config.stride or 1
        self.register_buffer("weight_q0", _copied(block.simple_conv_q0.weight))
        self.register_buffer("weight_q1", _copied(block.simple_conv_q1.weight))

    def forward(self, images: Tensor) -> Tensor:
        """Noisy, rectified responses, shaped as `VOneBlock.forward`'s."""
        mean = self.mean_response(images)
        if self.noise is None:
            return F.relu(mean)
        # Autograd needs the values that steps in place would overwrite.
        return F.relu(self._noisy(mean) if mean.requires_grad else self._noisy_in_place(mean))

    def mean_response(self, images: Tensor) -> Tensor:
        """Responses before noise. Their gradient is not a number where both phases are 0."""
        padding = self.weight_q0.shape[-1] // 2
        q0 = F.conv2d(images, self.weight_q0, stride=self.stride, padding=padding)
        q1 = F.conv2d(images, self.weight_q1, stride=self.stride, padding=padding)
        n = self.simple_channels
        simple = F.relu(q0[:, :n])
        complex_ = torch.sqrt(q0[:, n:] ** 2 + q1[:, n:] ** 2) / math.sqrt(2)
        return self.k_exc * torch.cat([simple, complex_], dim=1)

    def _noisy(self, mean: Tensor) -> Tensor:
        spikes = self.scale * mean + self.level
        spikes = spikes + torch.randn_like(spikes) * torch.sqrt(F.relu(spikes) + VARIANCE_FLOOR)
        return (spikes - self.level) / self.scale

    def _noisy_in_place(self, mean: Tensor) -> Tensor:
        spikes = mean.mul_(self.scale).add_(self.level)
        spikes += torch.randn_like(spikes) * torch.sqrt(F.relu(spikes) + VARIANCE_FLOOR)
        return spikes.sub_(self.level).div_(self.scale)


class PublishedNet(nn.Module):
    """The published block, and the bottleneck and back-end of one of our networks.

    Args:
        model: the network; its weights are copied, so that each of the two can be trained, and laid
            out channel by channel, as PyTorch does by default and the published code did.
    """

    def __init__(self, model: VOneNet) -> None:
        super().__init__()
        self.vone_block = PublishedBlock(model.vone_block)
        self.bottleneck = copy.deepcopy(model.bottleneck)
        self.model = copy.deepcopy(model.model)
        self.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes) of normalised images (B, 3, H, W)."""
        logits: Tensor = self.model(self.bottleneck(self.vone_block(images)))
        return logits


def _copied(weight: Tensor) -> Tensor:
    return weight.detach().clone(memory_format=torch.contiguous_format)

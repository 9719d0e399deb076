"""Where and on how much a task runs: device, precision, batch and image size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

NUM_CLASSES = 1000

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Setting:
    """Where and on how much a task runs.

    Attributes:
        batch: number of images.
        image_px: their height and width.
        device: where.
        mixed: bfloat16 autocast and channels last, as GPUs are used, instead of plain float32.
    """

    batch: int
    image_px: int
    device: torch.device
    mixed: bool = False

    def images(self) -> Tensor:
        """Uniformly random normalised images, B, 3, H, W."""
        shape = (self.batch, 3, self.image_px, self.image_px)
        images = torch.rand(shape, device=self.device) * 2 - 1
        return images.contiguous(memory_format=torch.channels_last) if self.mixed else images

    def labels(self) -> Tensor:
        """Random labels, B."""
        return torch.randint(NUM_CLASSES, (self.batch,), device=self.device)

    def place(self, module: M) -> M:
        """The module on the device, in the setting's memory format."""
        module = module.to(self.device)
        return channels_last(module) if self.mixed else module

    def precision(self) -> torch.autocast:
        """Within: autocast, if the setting is mixed."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)


def channels_last(module: M) -> M:
    """The module with its convolutions' weights laid out position by position."""
    return module.to(memory_format=torch.channels_last)

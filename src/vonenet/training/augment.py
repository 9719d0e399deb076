"""Augmentation of whole batches: mirror images and small shifts, from a generator of their own."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def flip_some(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image (B, C, H, W) left to right with probability 1/2."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(-1), images)


def shift(images: Tensor, reach_px: int, generator: torch.Generator) -> Tensor:
    """Moves each image (B, C, H, W) by up to `reach_px` each way; zeros enter at the borders."""
    count, _, height, width = images.shape
    down, right = torch.randint(2 * reach_px + 1, (2, count, 1), generator=generator)
    rows = (down + torch.arange(height)).to(images.device)
    columns = (right + torch.arange(width)).to(images.device)
    padded = pad(images, [reach_px] * 4)
    image = torch.arange(count, device=images.device)
    # Indices on both sides of the channel slice put the channels last.
    moved = padded[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)

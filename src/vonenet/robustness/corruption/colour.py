"""Colour for corruptions that know it: luma and tints that also suit grey images."""

from collections.abc import Sequence

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV's and Pillow's grey


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W) luma of images with 1 or 3 channels."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA).reshape(3, 1, 1)).sum(dim=1, keepdim=True)


def tint(levels: Sequence[int], images: Tensor) -> Tensor:
    """A colour given in levels of 0 to 255, as (1, C, 1, 1) for images with C channels."""
    colour = torch.tensor(levels).to(images).reshape(1, 3, 1, 1) / 255
    return colour if images.shape[1] == 3 else grey(colour)

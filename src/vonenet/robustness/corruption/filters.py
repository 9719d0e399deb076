"""Linear filters and resizing that several corruptions share, exact at any size.

A Gaussian is applied as a matrix per axis, borders folded into it: in float32 that is faster than
a convolution from a few pixels of sigma on, and its cost does not grow with sigma. Wide kernels
that do not separate go through the FFT.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import grid_sample, pad


def smooth(
    images: Tensor,
    sigma_px: float,
    *,
    truncate: float = 4.0,
    border: Literal["replicate", "reflect"] = "replicate",
) -> Tensor:
    """Blurs (..., H, W) with a Gaussian cut at `truncate` sigma.

    Args:
        images: What to blur.
        sigma_px: Standard deviation; 0 leaves the images as they are.
        truncate: Radius of the kernel in sigmas.
        border: "replicate" repeats edge pixels (scipy's "nearest"); "reflect" mirrors about the
            edge, edge pixels repeated (scipy's "reflect").
    """
    radius = int(truncate * sigma_px + 0.5)
    if radius == 0:
        return images
    height, width = images.shape[-2:]
    down = gaussian_matrix(height, sigma_px, radius, border).to(images)
    across = gaussian_matrix(width, sigma_px, radius, border).to(images)
    return down @ (images @ across.T)


@lru_cache(maxsize=64)
def gaussian_matrix(length: int, sigma_px: float, radius: int, border: str) -> Tensor:
    """(length, length) float64 matrix that smooths a line; shared, not to be written to."""
    offsets = torch.arange(-radius, radius + 1)
    reached = torch.arange(length)[:, None] + offsets
    if border == "reflect":
        reached = reached.remainder(2 * length)
        reached = torch.where(reached < length, reached, 2 * length - 1 - reached)
    kernel = gaussian_kernel(sigma_px, radius).expand(length, -1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, reached.clamp(0, length - 1), kernel)


def gaussian_kernel(sigma_px: float, radius: int) -> Tensor:
    """(2 radius + 1,) float64 weights that sum to 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    return kernel / kernel.sum()


def correlate(images: Tensor, kernels: Tensor, *, border: str) -> Tensor:
    """Correlates every channel of (B, C, H, W) with its image's kernel, through the FFT.

    Args:
        images: What to filter.
        kernels: (B, k, k), or (1, k, k) for all images; k odd, at most twice the image's side.
        border: A mode of `torch.nn.functional.pad`: "reflect" (edge pixels once) or "replicate".
    """
    height, width = images.shape[-2:]
    reach = kernels.shape[-1] // 2
    padded = pad(images, (reach,) * 4, mode=border)
    size = [next_fast_len(side, real=True) for side in padded.shape[-2:]]
    transfer = torch.fft.rfft2(kernels.to(images), s=size).conj()[:, None]
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * transfer, s=size)
    return filtered[..., :height, :width]


def line_blur(images: Tensor, radius: int, sigma_px: float, angles_deg: Tensor) -> Tensor:
    """Blurs (B, C, H, W) along one line per image, to one side, as ImageMagick does.

    Args:
        images: What to blur; edge pixels are repeated beyond the borders.
        radius: The line has 2 radius + 1 taps, one pixel apart.
        sigma_px: Standard deviation of the taps' half Gaussian.
        angles_deg: (B,) directions, clockwise from right.
    """
    return correlate(images, _line_kernels(radius, sigma_px, angles_deg), border="replicate")


def _line_kernels(radius: int, sigma_px: float, angles_deg: Tensor) -> Tensor:
    """(B, 4 radius + 1, 4 radius + 1): half a Gaussian from the centre outwards."""
    reach = 2 * radius
    steps = torch.arange(reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma_px) ** 2)
    angles = torch.deg2rad(angles_deg.double())[:, None]
    down, right = (
        torch.ceil(steps * direction - 0.5).long() for direction in (angles.sin(), angles.cos())
    )
    side = 2 * reach + 1
    kernels = torch.zeros(len(angles), side * side, dtype=torch.float64)
    places = (reach + down) * side + reach + right
    kernels.scatter_add_(1, places, (weights / weights.sum()).expand_as(places))
    return kernels.reshape(-1, side, side)


def centre_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarges the centre of (B, C, H, W) to full size, bilinearly, corners on corners.

    `interpolate` would round otherwise with another number of threads; `grid_sample` does not.
    """
    y, x = (_zoomed_positions(side, factor).to(images) for side in images.shape[-2:])
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return grid_sample(
        images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True
    )


def _zoomed_positions(side: int, factor: float) -> Tensor:
    """(side,) where the pixels of the zoomed side lie in the original, from -1 to 1; float64."""
    part = math.ceil(side / factor)
    zoomed = round(part * factor)
    cut = (zoomed - side) // 2
    steps = torch.arange(cut, cut + side, dtype=torch.float64)
    pixels = (side - part) // 2 + steps * (part - 1) / (zoomed - 1)
    return 2 * pixels / (side - 1) - 1


def resize_box(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes with Pillow's box filter, which averages whole pixels with equal weights."""
    down, across = (
        _box_weights(old, new).to(images) for old, new in zip(images.shape[-2:], size, strict=True)
    )
    return down @ images @ across.T


@lru_cache(maxsize=64)
def _box_weights(old: int, new: int) -> Tensor:
    """(new, old) weights: pixels whose centre lies within half an output pixel, at least one."""
    scale = old / new
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    distance = torch.arange(old) + 0.5 - centres[:, None]
    half = max(scale, 1) / 2
    inside = ((distance > -half) & (distance <= half)).double()
    return inside / inside.sum(dim=1, keepdim=True)

"""Blur: defocus, glass, motion, zoom and Gaussian; and the filters that other types share.

A Gaussian is applied as one matrix per axis, borders included: in float32 this is faster than a
convolution for more than a few pixels of sigma, and its cost does not grow with sigma. Wide kernels
that do not separate go through the FFT.
"""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from vonenet.robustness.corruptions.noise import Generators, integers, uniform


def defocus_blur(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Blur with a disk of given radius, its rim softened by a Gaussian of given sigma."""
    return correlate(images, _disk_kernel(*constant)[None], border="reflect")


def glass_blur(images: Tensor, constant: tuple[float, int, int], generators: Generators) -> Tensor:
    """Blur, shuffle pixels locally in some passes, and blur again."""
    sigma_px, reach, passes = constant
    blurred = (255 * smooth(images, sigma_px)).floor() / 255  # whole grey levels, as published
    height, width = images.shape[-2:]
    interior = (passes, 2, height - 2 * reach, width - 2 * reach)
    offsets = integers(generators, interior, -reach, reach).to(images.device)
    first, *others = (_glass_sources(each, height, width) for each in offsets.unbind(dim=1))
    for later in others:
        first = first.gather(1, later)
    sources = first[:, None].expand(-1, images.shape[1], -1)
    return smooth(blurred.flatten(2).gather(2, sources).reshape(images.shape), sigma_px)


def motion_blur(images: Tensor, constant: tuple[int, float], generators: Generators) -> Tensor:
    """Blur along a line at an angle of -45 to 45 degrees."""
    angles_deg = uniform(generators, (), -45, 45)
    return line_blur(images, *constant, angles_deg)


def zoom_blur(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Average the image and its centre zooms by factors from 1 up to an end, a step apart."""
    end, step = constant
    # numpy decides, as in the published code, whether rounding includes the end itself.
    factors = np.arange(1, end, step).tolist()
    total = images.clone()
    for factor in factors:
        total += centre_zoom(images, factor)
    return total / (len(factors) + 1)


def gaussian_blur(images: Tensor, sigma_px: float, _: Generators) -> Tensor:
    """Blur with a Gaussian cut at 4 sigma, edge pixels repeated (as skimage.filters.gaussian)."""
    return smooth(images, sigma_px)


def smooth(
    images: Tensor,
    sigma_px: float,
    *,
    truncate: float = 4.0,
    border: Literal["replicate", "reflect"] = "replicate",
) -> Tensor:
    """Blur (..., H, W) with a Gaussian, cut off at so many standard deviations.

    The border "replicate" repeats edge pixels (scipy's "nearest"); "reflect" mirrors about the
    edge, edge pixels repeated (scipy's "reflect").
    """
    radius = int(truncate * sigma_px + 0.5)
    if radius == 0:
        return images
    height, width = images.shape[-2:]
    down = _gaussian_matrix(height, sigma_px, radius, border).to(images)
    across = _gaussian_matrix(width, sigma_px, radius, border).to(images)
    return down @ (images @ across.T)


def correlate(images: Tensor, kernels: Tensor, *, border: str) -> Tensor:
    """Correlate every channel of (B, C, H, W) with its image's kernel, through the FFT.

    Kernels are (B, k, k), or (1, k, k) for all images; k is odd, at most twice the image's side.
    The border is a mode of `torch.nn.functional.pad`.
    """
    height, width = images.shape[-2:]
    reach = kernels.shape[-1] // 2
    padded = pad(images, (reach,) * 4, mode=border)
    size = [next_fast_len(side, real=True) for side in padded.shape[-2:]]
    transfer = torch.fft.rfft2(kernels.to(images), s=size).conj()[:, None]
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * transfer, s=size)
    return filtered[..., :height, :width]


def line_blur(images: Tensor, radius: int, sigma_px: float, angles_deg: Tensor) -> Tensor:
    """Blur (B, C, H, W) along one line per image, to one side, as ImageMagick does.

    The line has 2 radius + 1 taps, one pixel apart, of a half Gaussian. Angles, (B,), are clockwise
    from right. Edge pixels are repeated beyond the borders.
    """
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
    return correlate(images, kernels.reshape(-1, side, side), border="replicate")


def centre_zoom(images: Tensor, factor: float) -> Tensor:
    """Enlarge the centre of (B, C, H, W) to full size, bilinearly, corners on corners.

    The rounding of `interpolate` depends on the number of threads; that of `grid_sample` does not.
    """
    y, x = (_zoomed_positions(side, factor).to(images) for side in images.shape[-2:])
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return grid_sample(
        images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True
    )


def _zoomed_positions(side: int, factor: float) -> Tensor:
    """Return (side,) positions in the original, -1 to 1, of the zoomed side's pixels (float64)."""
    part = math.ceil(side / factor)
    zoomed = round(part * factor)
    cut = (zoomed - side) // 2
    steps = torch.arange(cut, cut + side, dtype=torch.float64)
    pixels = (side - part) // 2 + steps * (part - 1) / (zoomed - 1)
    return 2 * pixels / (side - 1) - 1


@lru_cache(maxsize=64)
def _gaussian_matrix(length: int, sigma_px: float, radius: int, border: str) -> Tensor:
    """Return the (length, length) float64 matrix that smooths a line; shared, never write to it."""
    offsets = torch.arange(-radius, radius + 1)
    reached = torch.arange(length)[:, None] + offsets
    if border == "reflect":
        reached = reached.remainder(2 * length)
        reached = torch.where(reached < length, reached, 2 * length - 1 - reached)
    kernel = _gaussian_kernel(sigma_px, radius).expand(length, -1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, reached.clamp(0, length - 1), kernel)


def _gaussian_kernel(sigma_px: float, radius: int) -> Tensor:
    """Return (2 radius + 1,) float64 weights that sum to 1."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    return kernel / kernel.sum()


def _disk_kernel(radius: float, sigma_px: float) -> Tensor:
    """Return a disk on a grid of 17 px (more for radii above 8), blurred over 3 px (5 px)."""
    reach, blur_radius = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    line = _gaussian_kernel(sigma_px, blur_radius)
    padded = pad((disk / disk.sum())[None, None], (blur_radius,) * 4, mode="reflect")
    windows = padded[0, 0].unfold(0, len(line), 1).unfold(1, len(line), 1)
    return torch.einsum("yxuv,u,v->yx", windows, line, line)


def _glass_sources(offsets: Tensor, height: int, width: int) -> Tensor:
    """Find which pixel each pixel shows after one pass of the glass shuffle.

    The pass visits pixels in raster order from the bottom right, and each takes the colour that
    the pixel at its offset shows by then. (The published code writes a swap; numpy's views make it
    this copy, in the published images too.) A pixel that refers to one visited before it shows
    what that one took: a chain, followed here for all pixels at once by doubling. Offsets are
    (B, 2, h, w), rows and columns to go; sources are (B, height * width).
    """
    rows, columns = offsets.shape[2:]
    top, left = (height - rows) // 2 + 1, (width - columns) // 2 + 1
    here = torch.arange(height * width, device=offsets.device).reshape(height, width)
    taken = here.expand(len(offsets), -1, -1).clone()
    taken[:, top : top + rows, left : left + columns] += width * offsets[:, 0] + offsets[:, 1]
    here, taken = here.flatten(), taken.flatten(1)
    root = torch.where(taken > here, taken, here)  # a later index was visited before
    while not torch.equal(further := root.gather(1, root), root):
        root = further
    return taken.gather(1, root)

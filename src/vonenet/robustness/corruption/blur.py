"""Blur: defocus, glass, motion and zoom."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from vonenet.robustness.corruption.draws import Generators, integers, uniform
from vonenet.robustness.corruption.filters import (
    centre_zoom,
    correlate,
    gaussian_kernel,
    line_blur,
    smooth,
)


def defocus_blur(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Blurs with a disk of given radius, its rim softened by a Gaussian of given sigma."""
    return correlate(images, _disk_kernel(*constant)[None], border="reflect")


def glass_blur(images: Tensor, constant: tuple[float, int, int], generators: Generators) -> Tensor:
    """Blurs, shuffles pixels locally for some passes, and blurs again."""
    sigma_px, reach, passes = constant
    blurred = (255 * smooth(images, sigma_px)).floor() / 255  # the generator's whole levels
    height, width = images.shape[-2:]
    interior = (passes, 2, height - 2 * reach, width - 2 * reach)
    offsets = integers(generators, interior, -reach, reach).to(images.device)
    first, *others = (_glass_sources(each, height, width) for each in offsets.unbind(dim=1))
    for later in others:
        first = first.gather(1, later)
    sources = first[:, None].expand(-1, images.shape[1], -1)
    return smooth(blurred.flatten(2).gather(2, sources).reshape(images.shape), sigma_px)


def motion_blur(images: Tensor, constant: tuple[int, float], generators: Generators) -> Tensor:
    """Blurs along a line at an angle of -45 to 45 degrees."""
    angles_deg = uniform(generators, (), -45, 45)
    return line_blur(images, *constant, angles_deg)


def zoom_blur(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Averages the image and its centre zooms by factors from 1 up to an end, a step apart."""
    end, step = constant
    # numpy decides, as in the generator, whether rounding lets the end itself in.
    factors = np.arange(1, end, step).tolist()
    total = images.clone()
    for factor in factors:
        total += centre_zoom(images, factor)
    return total / (len(factors) + 1)


def _disk_kernel(radius: float, sigma_px: float) -> Tensor:
    """A disk on a grid of 17 px (more for radii above 8), blurred over 3 px (5 px)."""
    reach, blur_radius = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    line = gaussian_kernel(sigma_px, blur_radius)
    padded = pad((disk / disk.sum())[None, None], (blur_radius,) * 4, mode="reflect")
    windows = padded[0, 0].unfold(0, len(line), 1).unfold(1, len(line), 1)
    return torch.einsum("yxuv,u,v->yx", windows, line, line)


def _glass_sources(offsets: Tensor, height: int, width: int) -> Tensor:
    """Which pixel each pixel shows after one pass of the glass shuffle.

    The pass visits pixels in raster order from the bottom right, and each takes the colour that
    the pixel at its offset shows by then. (The generator writes a swap; numpy's views make it this
    copy, in the published images and in the later libraries.) A pixel that refers to one visited
    before it shows what that one took: a chain, followed here for all pixels at once by doubling.

    Args:
        offsets: (B, 2, h, w) rows and columns to go, for the pixels that are visited.
        height: Of the image.
        width: Of the image.

    Returns:
        (B, height * width) indices.
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

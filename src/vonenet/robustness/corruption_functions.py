"""What each corruption does to a batch: (images, constant, generators) -> images, not yet clipped.

Definitions follow the public generators of ImageNet-C (reference/corruptions.md). Images are
(B, C, H, W) in [0, 1]; there is one CPU generator per image, which only noise draws from.
"""

import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

Generators: TypeAlias = Sequence[torch.Generator]


# --- noise -------------------------------------------------------------------------------------


def gaussian_noise(images: Tensor, std: float, generators: Generators) -> Tensor:
    """Adds normal noise of the given standard deviation."""
    noise = [torch.randn(images.shape[1:], generator=each) for each in generators]
    return images + std * torch.stack(noise).to(images)


def shot_noise(images: Tensor, photons: float, generators: Generators) -> Tensor:
    """Draws each value as a Poisson count of which white has `photons`."""
    rates = photons * images.cpu()
    pairs = zip(rates, generators, strict=True)
    counts = torch.stack([torch.poisson(rate, generator=each) for rate, each in pairs])
    return counts.to(images) / photons


def impulse_noise(images: Tensor, amount: float, generators: Generators) -> Tensor:
    """Turns a share of the values, colours apart, to black or white with equal chance."""
    shape = (2, *images.shape[1:])
    draws = torch.stack([torch.rand(shape, generator=each) for each in generators])
    hit, white = draws.to(images.device).unbind(dim=1)
    return torch.where(hit < amount, (white < 0.5).to(images), images)


# --- blur --------------------------------------------------------------------------------------


def gaussian_blur(images: Tensor, sigma: float, _: Generators) -> Tensor:
    """Blurs with a Gaussian cut at 4 sigma, edge pixels repeated (as skimage.filters.gaussian)."""
    kernel = _gaussian_kernel(sigma, radius=int(4 * sigma + 0.5))
    rows = _filter(images, kernel[:, None], border="replicate")
    return _filter(rows, kernel[None, :], border="replicate")


def defocus_blur(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Blurs with a disk of given radius, its rim softened by a Gaussian of given sigma."""
    return _filter(images, _disk_kernel(*constant), border="reflect")


# --- weather -----------------------------------------------------------------------------------


def brightness(images: Tensor, amount: float, _: Generators) -> Tensor:
    """Adds to the value of HSV, which scales a colour about black; black itself becomes grey."""
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + amount).clamp(max=1)
    scale = torch.where(value > 0, brighter / value, 0)
    return torch.where(value > 0, images * scale, brighter)


# --- digital -----------------------------------------------------------------------------------


def contrast(images: Tensor, factor: float, _: Generators) -> Tensor:
    """Scales contrast about each channel's mean."""
    means = images.mean(dim=(2, 3), keepdim=True)
    return factor * (images - means) + means


def pixelate(images: Tensor, share: float, _: Generators) -> Tensor:
    """Shrinks to a share of the size and back with Pillow's box filter."""
    small = _resize_box(images, [int(share * side) for side in images.shape[-2:]])
    return _resize_box(small, images.shape[-2:])


def jpeg_compression(images: Tensor, quality: int, _: Generators) -> Tensor:
    """Stores as JPEG and decodes again."""
    return torch.stack([_jpeg(image, quality) for image in images.cpu()]).to(images)


# --- parts -------------------------------------------------------------------------------------


def _gaussian_kernel(sigma: float, radius: int) -> Tensor:
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return kernel / kernel.sum()


def _disk_kernel(radius: float, sigma: float) -> Tensor:
    """A disk on a grid of 17 px (more for radii above 8), blurred over 3 px (5 px)."""
    reach, blur_radius = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    line = _gaussian_kernel(sigma, blur_radius)
    soft = _filter((disk / disk.sum())[None, None], line[:, None] * line, border="reflect")
    return soft[0, 0]


def _filter(images: Tensor, kernel: Tensor, border: str) -> Tensor:
    """Correlates every channel with one odd-sized kernel; the borders are padded as said."""
    down, right = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = pad(images, (right, right, down, down), mode=border)
    planes = padded.flatten(0, 1)[:, None]
    return conv2d(planes, kernel.to(images)[None, None]).reshape(images.shape)


def _resize_box(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes with Pillow's box filter, which averages whole pixels with equal weights."""
    down, across = (
        _box_weights(old, new).to(images) for old, new in zip(images.shape[-2:], size, strict=True)
    )
    return down @ images @ across.T


def _box_weights(old: int, new: int) -> Tensor:
    """(new, old) weights: pixels whose centre lies within half an output pixel, at least one."""
    scale = old / new
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    distance = torch.arange(old) + 0.5 - centres[:, None]
    half = max(scale, 1) / 2
    inside = ((distance > -half) & (distance <= half)).double()
    return inside / inside.sum(dim=1, keepdim=True)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    channels_last = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(channels_last.squeeze(-1) if len(image) == 1 else channels_last).save(
        file, "JPEG", quality=quality
    )
    decoded = torch.from_numpy(np.array(Image.open(file)).reshape(channels_last.shape))
    return decoded.permute(2, 0, 1) / 255

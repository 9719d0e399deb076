"""The four types outside ImageNet-C's mean: speckle noise, Gaussian blur, spatter, saturation."""

import torch
from torch import Tensor

from vonenet.robustness.corruption.colour import tint
from vonenet.robustness.corruption.draws import Generators, normal
from vonenet.robustness.corruption.filters import smooth
from vonenet.robustness.corruption.splash import water

WATER = (175, 238, 238)  # pale turquoise
MUD = (63, 42, 20)
SpatterConstant = tuple[float, float, float, float, float, int]


def speckle_noise(images: Tensor, std: float, generators: Generators) -> Tensor:
    """Adds normal noise in proportion to each value."""
    return images + images * std * normal(generators, images.shape[1:]).to(images)


def gaussian_blur(images: Tensor, sigma_px: float, _: Generators) -> Tensor:
    """Blurs with a Gaussian cut at 4 sigma, edge pixels repeated (as skimage.filters.gaussian)."""
    return smooth(images, sigma_px)


def spatter(images: Tensor, constant: SpatterConstant, generators: Generators) -> Tensor:
    """Splashes the lens with water (light severities) or with mud."""
    mean, std, sigma_px, threshold, strength, muddy = constant
    liquid = smooth(mean + std * normal(generators, images.shape[-2:]), sigma_px)
    if not muddy:
        splash = strength * water(torch.where(liquid < threshold, 0, liquid))
        return images + splash[:, None].to(images) * tint(WATER, images)
    cover = smooth((liquid > threshold).float(), sigma_px=strength)
    cover = torch.where(cover < 0.8, 0, cover)[:, None].to(images)
    return images * (1 - cover) + tint(MUD, images) * cover


def saturate(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Scales the saturation of HSV and adds to it.

    Grey in a colour image has red's hue, as in skimage; an image of one channel has no saturation
    to change.
    """
    if images.shape[1] == 1:
        return images
    factor, added = constant
    value = images.amax(dim=1, keepdim=True)
    depth = value - images  # value times saturation times the share of each colour
    saturation = depth.amax(dim=1, keepdim=True) / value.where(value > 0, 1)
    wanted = (factor * saturation + added).clamp(0, 1)
    red = value * value.new_tensor([0, 1, 1]).reshape(3, 1, 1)
    is_grey = saturation == 0
    full = torch.where(is_grey, red, depth / saturation.where(~is_grey, 1))
    return value - wanted * full

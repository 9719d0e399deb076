"""Weather: snow, frost, fog and brightness."""

import torch
from torch import Tensor

from vonenet.robustness.corruption.colour import grey
from vonenet.robustness.corruption.draws import Generators, normal, uniform
from vonenet.robustness.corruption.filters import centre_zoom, line_blur
from vonenet.robustness.corruption.fractal import plasma_fractal
from vonenet.robustness.corruption.frost import FrostTextures, frost_crops

SnowConstant = tuple[float, float, float, float, int, float, float]


def snow(images: Tensor, constant: SnowConstant, generators: Generators) -> Tensor:
    """Whitens the scene and adds streaks of flakes, a layer of them and the layer upside down."""
    mean, std, zoom, threshold, radius, sigma_px, image_weight = constant
    draws = normal(generators, (1, *images.shape[-2:]))
    angles_deg = uniform(generators, (), -135, -45)
    flakes = centre_zoom(mean + std * draws, zoom)
    flakes = torch.where(flakes < threshold, 0, flakes).clamp(0, 1).to(images)
    streaks = line_blur(flakes, radius, sigma_px, angles_deg)
    whitened = torch.maximum(images, 1.5 * grey(images) + 0.5)
    scene = image_weight * images + (1 - image_weight) * whitened
    return scene + streaks + streaks.rot90(2, dims=(2, 3))


def frost(
    images: Tensor,
    constant: tuple[float, float, float],
    generators: Generators,
    *,
    textures: FrostTextures,
) -> Tensor:
    """Adds a random crop of a frost texture: image weight, frost weight, texture's scale."""
    image_weight, frost_weight, scale = constant
    crops = frost_crops(textures, scale, images.shape[-2:], generators).to(images)
    return image_weight * images + frost_weight * (crops if images.shape[1] == 3 else grey(crops))


def fog(images: Tensor, constant: tuple[float, float], generators: Generators) -> Tensor:
    """Adds a plasma fractal and scales back, so that the brightest pixel stays as bright."""
    amount, decay = constant
    height, width = images.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    fractal = plasma_fractal(uniform(generators, (side * side,), -1, 1), decay)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    mist = fractal[:, None, :height, :width].to(images)
    return (images + amount * mist) * brightest / (brightest + amount)


def brightness(images: Tensor, amount: float, _: Generators) -> Tensor:
    """Adds to the value of HSV, which scales a colour about black; black itself becomes grey."""
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + amount).clamp(max=1)
    scale = torch.where(value > 0, brighter / value, 0)
    return torch.where(value > 0, images * scale, brighter)

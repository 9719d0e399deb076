"""Frost textures: the published photographs where they are at hand, else procedural ice.

The photographs come with `imagecorruptions-imaug` (and with hendrycks/robustness), not with
vonenet. Result rows say which textures were used.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vonenet.errors import InputError
from vonenet.robustness.corruption.draws import Generators, integers, normal, uniform
from vonenet.robustness.corruption.filters import line_blur
from vonenet.robustness.corruption.fractal import plasma_fractal

# The generators draw from the first five of the six files that are published.
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
# Procedural textures take over mean colour and standard deviation of those five photographs.
PHOTOGRAPHS_MEAN = (
    (0.305, 0.585, 0.650),
    (0.787, 0.805, 0.841),
    (0.787, 0.805, 0.841),
    (0.540, 0.599, 0.648),
    (0.441, 0.484, 0.528),
)
PHOTOGRAPHS_STD = (0.08, 0.09, 0.09, 0.11, 0.17)
PROCEDURAL_SIDE = 512


@dataclass(frozen=True)
class FrostTextures:
    """Pictures to crop frost from.

    Attributes:
        source: What result rows call them.
        pictures: (3, H, W) each, in [0, 1]; sizes differ.
    """

    source: str
    pictures: tuple[Tensor, ...]


def frost_textures(folder: Path | str | None = None) -> FrostTextures:
    """The published textures from a folder, or from the package if it is installed.

    Args:
        folder: Holds frost1.png to frost3.png, frost4.jpg and frost5.jpg. None looks for the
            package `imagecorruptions-imaug`, and falls back on procedural textures.

    Raises:
        InputError: If the folder lacks one of the files.
    """
    if folder is not None:
        return _photographs(f"folder {folder}", Path(folder))
    spec = importlib.util.find_spec("imagecorruptions")
    if spec is None or spec.origin is None:
        return _procedural()
    return _photographs("published", Path(spec.origin).parent / "frost")


def frost_crops(
    textures: FrostTextures, scale: float, size: Sequence[int], generators: Generators
) -> Tensor:
    """A random crop of a random texture per image.

    Args:
        textures: What to crop from.
        scale: Size of the textures relative to their files; larger where they would not cover.
        size: Height and width of a crop.
        generators: One per image.

    Returns:
        (B, 3, H, W) on the CPU.
    """
    crops = []
    for which, generator in zip(
        integers(generators, (), 0, len(textures.pictures)), generators, strict=True
    ):
        picture = _scaled(textures.pictures[int(which)], scale, (size[0], size[1]))
        slack = [have - want for have, want in zip(picture.shape[-2:], size, strict=True)]
        top, left = (int(torch.randint(each + 1, (), generator=generator)) for each in slack)
        crops.append(picture[:, top : top + size[0], left : left + size[1]])
    return torch.stack(crops)


@lru_cache(maxsize=16)
def _scaled(picture: Tensor, scale: float, cover: tuple[int, int]) -> Tensor:
    """The picture at a scale at which it covers the crop; shared, not to be written to."""
    sides = picture.shape[-2:]
    scale = max(scale, *(want / have for want, have in zip(cover, sides, strict=True)))
    size = [max(round(scale * have), want) for have, want in zip(sides, cover, strict=True)]
    return interpolate(picture[None], size=size, mode="bilinear")[0]


@lru_cache(maxsize=4)
def _photographs(source: str, folder: Path) -> FrostTextures:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"frost folder {str(folder)!r} lacks {missing[0]}; needed: {FILES}")
    pictures = []
    for name in FILES:
        with Image.open(folder / name) as image:
            levels = torch.from_numpy(np.array(image.convert("RGB")))
        pictures.append(levels.permute(2, 0, 1).float() / 255)
    return FrostTextures(source, tuple(pictures))


@cache
def _procedural() -> FrostTextures:
    """One texture in the colours of each photograph, always the same."""
    colours = zip(PHOTOGRAPHS_MEAN, PHOTOGRAPHS_STD, strict=True)
    pictures = tuple(_ice(seed, *colour) for seed, colour in enumerate(colours))
    return FrostTextures("procedural", pictures)


def _ice(seed: int, mean: Sequence[float], std: float) -> Tensor:
    """Needles of ice in all directions over soft clouds: (3, side, side) in [0, 1]."""
    generators = [torch.Generator().manual_seed(1000 * seed + i) for i in range(16)]
    shape = (1, PROCEDURAL_SIDE, PROCEDURAL_SIDE)
    sparks = normal(generators, shape) * (uniform(generators, shape) < 0.005)
    needles = line_blur(sparks, 12, 8, uniform(generators, (), -180, 180)).amax(dim=0)
    clouds = plasma_fractal(uniform(generators[:1], (PROCEDURAL_SIDE**2,), -1, 1), decay=1.5)
    relief = needles / needles.std() + clouds / clouds.std()
    relief = (relief - relief.mean()) / relief.std()
    return (torch.tensor(mean)[:, None, None] + std * relief).clamp(0, 1)

"""`corrupt`: the 19 common corruptions, seeded per image, with the constants of the image's size.

The table of types is `corruption/table.py`; what each does is in the files beside it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness.corruption.frost import frost_textures
from vonenet.robustness.corruption.table import CORRUPTIONS as CORRUPTIONS

SMALLEST_PX = 28  # the widest published kernels for small images still fit in


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    first_index: int = 0,
    frost_folder: Path | str | None = None,
) -> Tensor:
    """Corrupts images with the constants published for their size.

    What is random about image i depends on seed, name, severity and i alone: neither batch size
    nor the number of threads or workers changes a pixel, and the device no more than it rounds.

    Args:
        images: (B, C, H, W) in [0, 1].
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Seed of the whole set.
        first_index: Index in the set of the batch's first image.
        frost_folder: Where frost, and only frost, finds its textures (see `frost_textures`).

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        InputError: On an unknown name, another severity, images outside [0, 1], below 28 px or
            without 1 or 3 channels, or an incomplete frost folder.
    """
    check_corruption(name, severity)
    check_pixels(images)
    _check_shape(images)
    kind = CORRUPTIONS[name]
    constant = kind.constants[constants_size(images.shape[-2:])][severity - 1]
    numbers = range(first_index, first_index + len(images))
    generators = [_generator(seed, name, severity, index) for index in numbers]
    options = {"textures": frost_textures(frost_folder)} if name == "frost" else {}
    return kind.function(images, constant, generators, **options).clamp(0, 1)


def check_corruption(name: str, severity: int) -> None:
    """Refuses an unknown corruption or severity.

    Raises:
        InputError: Naming it.
    """
    if name not in CORRUPTIONS:
        raise InputError(f"corruption {name!r} is unknown; allowed: {', '.join(CORRUPTIONS)}")
    if severity not in (1, 2, 3, 4, 5):
        raise InputError(f"severity={severity} does not exist; allowed: 1 to 5")


def constants_size(image_size: Sequence[int]) -> int:
    """Which published constants suit an image: those for 32, 64 or 224 px, by its shorter side."""
    shorter = min(image_size)
    return 32 if shorter < 48 else 64 if shorter < 128 else 224


def _check_shape(images: Tensor) -> None:
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3) or min(shape[2:]) < SMALLEST_PX:
        raise InputError(
            f"images have shape {shape}; allowed: (B, 1 or 3, H, W) from {SMALLEST_PX} px a side"
        )


def _generator(seed: int, name: str, severity: int, index: int) -> torch.Generator:
    """A CPU generator whose stream belongs to this image, corruption and severity."""
    digest = hashlib.sha256(f"{seed}/{name}/{severity}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))

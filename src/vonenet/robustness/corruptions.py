"""Common corruptions: the table of functions and published constants, and `corrupt`.

Hendrycks & Dietterich 2019 (arXiv:1903.12261). Constants: the benchmark's public generators of
ImageNet-C (224 px), Tiny ImageNet-C (64 px) and CIFAR-10-C (32 px), as listed in the project's
reference/corruptions.md.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness import corruption_functions as functions

Severities: TypeAlias = tuple[Any, Any, Any, Any, Any]


@dataclass(frozen=True)
class CorruptionType:
    """One row of the table.

    Attributes:
        category: ImageNet-C's four, or "extra" for the four types outside its mean.
        function: (images, constant, generators) -> images, before clipping.
        constants: Constants of severities 1 to 5 by the image size that they were published for.
    """

    category: Literal["noise", "blur", "weather", "digital", "extra"]
    function: Callable[[Tensor, Any, functions.Generators], Tensor]
    constants: Mapping[int, Severities]


CORRUPTIONS: Mapping[str, CorruptionType] = {
    "gaussian_noise": CorruptionType(
        "noise",
        functions.gaussian_noise,
        {
            224: (0.08, 0.12, 0.18, 0.26, 0.38),
            64: (0.04, 0.08, 0.12, 0.15, 0.18),
            32: (0.04, 0.06, 0.08, 0.09, 0.10),
        },
    ),
    "shot_noise": CorruptionType(
        "noise",
        functions.shot_noise,
        {224: (60, 25, 12, 5, 3), 64: (250, 100, 50, 30, 15), 32: (500, 250, 100, 75, 50)},
    ),
    "impulse_noise": CorruptionType(
        "noise",
        functions.impulse_noise,
        {
            224: (0.03, 0.06, 0.09, 0.17, 0.27),
            64: (0.01, 0.02, 0.05, 0.08, 0.14),
            32: (0.01, 0.02, 0.03, 0.05, 0.07),
        },
    ),
    "gaussian_blur": CorruptionType(
        "extra",
        functions.gaussian_blur,
        {224: (1, 2, 3, 4, 6), 64: (0.5, 0.75, 1, 1.25, 1.5), 32: (0.4, 0.6, 0.7, 0.8, 1)},
    ),
    "defocus_blur": CorruptionType(
        "blur",
        functions.defocus_blur,
        {
            224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        },
    ),
    "brightness": CorruptionType(
        "weather",
        functions.brightness,
        {
            224: (0.1, 0.2, 0.3, 0.4, 0.5),
            64: (0.1, 0.2, 0.3, 0.4, 0.5),
            32: (0.05, 0.1, 0.15, 0.2, 0.3),
        },
    ),
    "contrast": CorruptionType(
        "digital",
        functions.contrast,
        {
            224: (0.4, 0.3, 0.2, 0.1, 0.05),
            64: (0.4, 0.3, 0.2, 0.1, 0.05),
            32: (0.75, 0.5, 0.4, 0.3, 0.15),
        },
    ),
    "pixelate": CorruptionType(
        "digital",
        functions.pixelate,
        {
            224: (0.6, 0.5, 0.4, 0.3, 0.25),
            64: (0.9, 0.8, 0.7, 0.6, 0.5),
            32: (0.95, 0.9, 0.85, 0.75, 0.65),
        },
    ),
    "jpeg_compression": CorruptionType(
        "digital",
        functions.jpeg_compression,
        {224: (25, 18, 15, 10, 7), 64: (65, 58, 50, 40, 25), 32: (80, 65, 58, 50, 40)},
    ),
}


def corrupt(
    images: Tensor, name: str, severity: int, *, seed: int = 0, first_index: int = 0
) -> Tensor:
    """Corrupts images with the constants published for their size.

    What is random about image i depends on seed, name, severity and i alone: neither batch size
    nor device changes a pixel.

    Args:
        images: (B, C, H, W) in [0, 1].
        name: A key of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: Seed of the whole set.
        first_index: Index in the set of the batch's first image.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        InputError: On an unknown name, another severity, or images outside [0, 1].
    """
    check_corruption(name, severity)
    check_pixels(images)
    kind = CORRUPTIONS[name]
    constant = kind.constants[constants_size(images.shape[-2:])][severity - 1]
    numbers = range(first_index, first_index + len(images))
    generators = [_generator(seed, name, severity, index) for index in numbers]
    return kind.function(images, constant, generators).clamp(0, 1)


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


def _generator(seed: int, name: str, severity: int, index: int) -> torch.Generator:
    """A CPU generator whose stream belongs to this image, corruption and severity."""
    digest = hashlib.sha256(f"{seed}/{name}/{severity}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))

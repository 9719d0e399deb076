"""The 19 common corruptions of Hendrycks & Dietterich 2019 (arXiv:1903.12261), seeded per image.

`corrupt` applies one. Each type is a function (images, constant, generators) -> images, written
from the benchmark's public generators (github.com/hendrycks/robustness, ImageNet-C/create/):
make_imagenet_c.py (224 px), make_tinyimagenet_c.py (64 px) and make_cifar_c.py (32 px). There is
one CPU generator for each image: what is random is drawn from it, and the work is done for the
whole batch, on its device. Results are clipped by `corrupt`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness.corruptions import blur, digital, noise, weather

SMALLEST_PX = 28  # the widest published kernels for small images still fit in


@dataclass(frozen=True)
class CorruptionType:
    """One row of the table.

    Attributes:
        category: One of ImageNet-C's four, or "extra" for types outside its mean.
        function: (images, constant, generators) -> images, before clipping; frost also takes
            `textures`.
        constants: Constants of severities 1 to 5, by the image size (224, 64 or 32 px) that they
            were published for.
    """

    category: Literal["noise", "blur", "weather", "digital", "extra"]
    function: Callable[..., Tensor]
    constants: Mapping[int, Sequence[Any]]


def _sides(side: int, *shares: tuple[float, float, float]) -> list[tuple[float, ...]]:
    """Return pixels from shares of a side, as the published elastic transform is given."""
    return [tuple(side * share for share in severity) for severity in shares]


# What the numbers of a severity mean is said by the first line of each function.
# fmt: off
CORRUPTIONS: Mapping[str, CorruptionType] = {
    "gaussian_noise": CorruptionType("noise", noise.gaussian_noise, {
        224: (0.08, 0.12, 0.18, 0.26, 0.38),
        64: (0.04, 0.08, 0.12, 0.15, 0.18),
        32: (0.04, 0.06, 0.08, 0.09, 0.10)}),
    "shot_noise": CorruptionType("noise", noise.shot_noise, {
        224: (60, 25, 12, 5, 3),
        64: (250, 100, 50, 30, 15),
        32: (500, 250, 100, 75, 50)}),
    "impulse_noise": CorruptionType("noise", noise.impulse_noise, {
        224: (0.03, 0.06, 0.09, 0.17, 0.27),
        64: (0.01, 0.02, 0.05, 0.08, 0.14),
        32: (0.01, 0.02, 0.03, 0.05, 0.07)}),
    "defocus_blur": CorruptionType("blur", blur.defocus_blur, {
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))}),
    "glass_blur": CorruptionType("blur", blur.glass_blur, {
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))}),
    "motion_blur": CorruptionType("blur", blur.motion_blur, {
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))}),
    "zoom_blur": CorruptionType("blur", blur.zoom_blur, {
        224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))}),
    # Mean, std, zoom and threshold of the flakes; radius and sigma of their blur; image's weight
    "snow": CorruptionType("weather", weather.snow, {
        224: ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
              (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
              (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        64: ((0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
             (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
             (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
        32: ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
             (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
             (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8))}),
    # The third number: the generators for small images shrink the textures.
    "frost": CorruptionType("weather", weather.frost, {
        224: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2))}),
    "fog": CorruptionType("weather", weather.fog, {
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))}),
    "brightness": CorruptionType("weather", weather.brightness, {
        224: (0.1, 0.2, 0.3, 0.4, 0.5),
        64: (0.1, 0.2, 0.3, 0.4, 0.5),
        32: (0.05, 0.1, 0.15, 0.2, 0.3)}),
    "contrast": CorruptionType("digital", digital.contrast, {
        224: (0.4, 0.3, 0.2, 0.1, 0.05),
        64: (0.4, 0.3, 0.2, 0.1, 0.05),
        32: (0.75, 0.5, 0.4, 0.3, 0.15)}),
    # 244 (sic) is the published side for ImageNet-C.
    "elastic_transform": CorruptionType("digital", digital.elastic_transform, {
        224: _sides(244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                    (0.12, 0.01, 0.02)),
        64: _sides(64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03),
                   (0.16, 0.03, 0.02)),
        32: _sides(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
                   (0.1, 0.03, 0.03))}),
    "pixelate": CorruptionType("digital", digital.pixelate, {
        224: (0.6, 0.5, 0.4, 0.3, 0.25),
        64: (0.9, 0.8, 0.7, 0.6, 0.5),
        32: (0.95, 0.9, 0.85, 0.75, 0.65)}),
    "jpeg_compression": CorruptionType("digital", digital.jpeg_compression, {
        224: (25, 18, 15, 10, 7),
        64: (65, 58, 50, 40, 25),
        32: (80, 65, 58, 50, 40)}),
    "speckle_noise": CorruptionType("extra", noise.speckle_noise, {
        224: (0.15, 0.2, 0.35, 0.45, 0.6),
        64: (0.15, 0.2, 0.25, 0.3, 0.35),
        32: (0.06, 0.1, 0.12, 0.16, 0.2)}),
    "gaussian_blur": CorruptionType("extra", blur.gaussian_blur, {
        224: (1, 2, 3, 4, 6),
        64: (0.5, 0.75, 1, 1.25, 1.5),
        32: (0.4, 0.6, 0.7, 0.8, 1)}),
    # Mean, std, sigma and threshold of the liquid; strength; 1 for mud
    "spatter": CorruptionType("extra", weather.spatter, {
        224: ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0),
              (0.65, 0.3, 2, 0.68, 0.5, 0), (0.65, 0.3, 1, 0.65, 1.5, 1),
              (0.67, 0.4, 1, 0.65, 1.5, 1)),
        64: ((0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0),
             (0.65, 0.3, 1, 0.69, 0.6, 0), (0.65, 0.1, 0.7, 0.68, 0.6, 1),
             (0.65, 0.1, 0.5, 0.67, 0.6, 1)),
        32: ((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0),
             (0.65, 0.3, 1, 0.69, 0.5, 0), (0.65, 0.1, 0.7, 0.69, 0.6, 1),
             (0.65, 0.1, 0.5, 0.68, 0.6, 1))}),
    "saturate": CorruptionType("extra", digital.saturate, {
        224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))}),
}
# fmt: on
# Ours, and yours to add: asked for by their own names alone, in no suite and in no published mean
OTHERS: dict[str, CorruptionType] = {
    "frost_procedural": CorruptionType(
        "extra", weather.frost_procedural, CORRUPTIONS["frost"].constants
    )
}


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    first_index: int = 0,
    frost_folder: Path | str | None = None,
) -> Tensor:
    """Corrupt images with the constants published for their size.

    What is random about image i depends on seed, name, severity and i alone. Batch size and number
    of threads or workers change no pixel; the device changes no more than it rounds. Results are
    not cut to whole grey levels as in the published code: they are half a level brighter.

    Args:
        images: (B, C, H, W) in [0, 1].
        name: A key of `CORRUPTIONS` or `OTHERS`.
        severity: 1 to 5.
        seed: Seed of the whole set.
        first_index: Index in the set of the batch's first image.
        frost_folder: Where frost finds its textures (see `find_frost`); others need none.

    Returns:
        (B, C, H, W) in [0, 1].

    Raises:
        InputError: On an unknown name, another severity, images outside [0, 1], below 28 px or
            without 1 or 3 channels, or if the textures of frost are not at hand.
    """
    kind = corruption_type(name, severity)
    check_pixels(images)
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3) or min(shape[2:]) < SMALLEST_PX:
        raise InputError(
            f"images have shape {shape}; allowed: (B, 1 or 3, H, W) from {SMALLEST_PX} px a side"
        )
    constant = kind.constants[constants_size(images.shape[-2:])][severity - 1]
    generators = []  # a stream for each image, corruption and severity
    for index in range(first_index, first_index + len(images)):
        digest = hashlib.sha256(f"{seed}/{name}/{severity}/{index}".encode()).digest()
        number = int.from_bytes(digest[:8], "big", signed=True)
        generators.append(torch.Generator().manual_seed(number))
    options = {}
    if name == "frost":
        _, folder = weather.find_frost(frost_folder)
        options["textures"] = weather.frost_textures(folder)
    return kind.function(images, constant, generators, **options).clamp(0, 1)


def corruption_type(name: str, severity: int) -> CorruptionType:
    """Look up a corruption.

    Raises:
        InputError: If the name or the severity is unknown.
    """
    known = {**CORRUPTIONS, **OTHERS}
    if name not in known:
        raise InputError(f"corruption {name!r} is unknown; allowed: {', '.join(known)}")
    if severity not in (1, 2, 3, 4, 5):
        raise InputError(f"severity={severity} does not exist; allowed: 1 to 5")
    return known[name]


def constants_size(image_size: Sequence[int]) -> int:
    """Choose the published constants, for 32, 64 or 224 px, by an image's shorter side."""
    shorter = min(image_size)
    return 32 if shorter < 48 else 64 if shorter < 128 else 224

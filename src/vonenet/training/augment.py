"""Augmentation: training images as a recipe wants them, each a function of (seed, epoch, index)."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset
from torchvision.transforms import v2

from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import as_pixels
from vonenet.data.seeding import item_seeded
from vonenet.errors import InputError
from vonenet.robustness.corruptions import corrupt
from vonenet.training.recipe import AugmentationRecipe

Crop: TypeAlias = Callable[[int], Tensor]
Step: TypeAlias = Callable[[Tensor], Tensor]

SEVERITIES = 5
GREY = 128  # what enters where RandAugment turns or moves an image: the mean of our normalisation

NUMBER = r"\d+(\.\d+)?"
# What timm understands; it passes over what it does not know, or stops at an assertion.
POLICIES = {
    "rand": re.compile(
        rf"rand(-(m\d+|n[1-9]|p{NUMBER}|mstd{NUMBER}|mmax\d+|inc[01]|t(weights|3aw?)))*"
    ),
    "augmix": re.compile(rf"augmix(-(m\d+|w[1-9]|d-?\d|a{NUMBER}|b[01]|mstd{NUMBER}))*"),
    "auto": re.compile(rf"(original|originalr|v0|v0r|3a)(-mstd{NUMBER})?"),
}
POLICIES_IN_WORDS = (
    "rand-m9-mstd0.5 and the like (rand with -m magnitude, -n operations, -p share, -mstd spread, "
    "-mmax, -inc1, -tweights, -t3a, -t3aw), augmix-m3-w3 (-m, -w, -d, -a, -b, -mstd), "
    "original, originalr, v0, v0r, 3a (each with -mstd)"
)


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """A data set whose items are augmented, anew in every epoch.

    Crop, RandAugment, mirror, colour jitter, corruption, Gaussian noise, random erasing: in this
    order, and those alone that the recipe asks for. What is drawn depends on seed, epoch and index,
    not on the process or the order in which images are asked for.

    Args:
        dataset: The images; opened at `image_size`.
        recipe: What is done to them.
        image_size: Height = width of the results, pixels.
        seed: Of the run.

    Raises:
        InputError: If timm knows no such `rand_augment`, or the corruptions are unknown or cannot
            be made at this size.
    """

    def __init__(
        self, dataset: ImageDataset, recipe: AugmentationRecipe, image_size: int, seed: int
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.crop = _crop(dataset, recipe, image_size)
        self.steps = _steps(recipe, image_size)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label.

        Args:
            key: Epoch and index.
        """
        epoch, index = key
        with item_seeded(self.seed, epoch, index):
            pixels = self.crop(index)
            for step in self.steps:
                pixels = step(pixels)
        return pixels, int(self.dataset.labels[index])


def _crop(dataset: ImageDataset, recipe: AugmentationRecipe, image_size: int) -> Crop:
    match recipe.crop:
        case "random_resized":
            return RandomPart(dataset, recipe.smallest_area, image_size)
        case "shift":
            if recipe.shift_px >= image_size:
                raise InputError(
                    f"augmentation.shift_px={recipe.shift_px} is impossible; "
                    f"allowed: below image_size={image_size}"
                )
            return Moved(dataset, recipe.shift_px)
        case "centre":
            return AsValidated(dataset)


def _steps(recipe: AugmentationRecipe, image_size: int) -> list[Step]:
    steps: list[Step] = []
    if recipe.rand_augment is not None:
        steps.append(Policy(recipe.rand_augment))
    if recipe.horizontal_flip:
        steps.append(mirrored)
    if recipe.color_jitter:
        steps.append(v2.ColorJitter(*[recipe.color_jitter] * 3))
    if recipe.corruptions or recipe.corruption_share:
        steps.append(Corrupted(recipe.corruptions, recipe.corruption_share, image_size))
    if recipe.gaussian_noise:
        steps.append(Noisy(recipe.gaussian_noise))
    if recipe.random_erasing:
        steps.append(Erased(recipe.random_erasing))
    return steps


class RandomPart:
    """A part of random size and shape, at the size asked for: torchvision's RandomResizedCrop."""

    def __init__(self, dataset: ImageDataset, smallest_area: float, image_size: int) -> None:
        self.dataset = dataset
        self.cut = v2.RandomResizedCrop(image_size, scale=(smallest_area, 1.0))

    def __call__(self, index: int) -> Tensor:
        """The part of image `index`."""
        return as_pixels(self.cut(self.dataset.whole(index)))


class AsValidated:
    """The image as in validation."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __call__(self, index: int) -> Tensor:
        """Image `index`."""
        return self.dataset[index][0]


class Moved:
    """The image as in validation, moved by up to `reach_px` each way; zeros enter."""

    def __init__(self, dataset: ImageDataset, reach_px: int) -> None:
        self.dataset = dataset
        self.reach_px = reach_px

    def __call__(self, index: int) -> Tensor:
        """Image `index`, moved."""
        down, right = torch.randint(-self.reach_px, self.reach_px + 1, (2,)).tolist()
        return pad(self.dataset[index][0], (right, -right, down, -down))


def mirrored(pixels: Tensor) -> Tensor:
    """Every other image (C, H, W) left to right."""
    return pixels.flip(-1) if torch.rand(()).item() < 0.5 else pixels


class Policy:
    """timm's RandAugment, AutoAugment or AugMix, as its description says.

    Raises:
        InputError: If timm would not understand it.
    """

    def __init__(self, description: str) -> None:
        kinds = [kind for kind, known in POLICIES.items() if known.fullmatch(description)]
        if not kinds:
            raise InputError(
                f"augmentation.rand_augment={description!r} is impossible; "
                f"allowed: {POLICIES_IN_WORDS}"
            )
        build = {
            "rand": auto_augment.rand_augment_transform,
            "augmix": auto_augment.augment_and_mix_transform,
            "auto": auto_augment.auto_augment_transform,
        }[kinds[0]]
        self.by_channels = {
            channels: build(
                description, {"img_mean": fill, "interpolation": Image.Resampling.BILINEAR}
            )
            for channels, fill in ((1, GREY), (3, (GREY,) * 3))
        }
        for policy in self.by_channels.values():
            for operation in getattr(policy, "ops", None) or chain(*policy.policy):
                if operation.name.startswith("Posterize"):
                    operation.aug_fn = posterized

    def __call__(self, pixels: Tensor) -> Tensor:
        """The image (C, H, W), in 256 levels."""
        levels = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
        channels = levels.shape[-1]
        image = Image.fromarray(np.ascontiguousarray(levels[:, :, 0] if channels == 1 else levels))
        return as_pixels(self.by_channels[channels](image))


def posterized(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm's, which can come to 0 bits or fewer: newer versions of Pillow refuse that."""
    return ImageOps.posterize(image, min(max(bits, 1), 8))


class Corrupted:
    """Our common corruptions: a random one, at a random severity, on a share of the images.

    Raises:
        InputError: If one is unknown or cannot be made at this size.
    """

    def __init__(self, names: tuple[str, ...], share: float, image_size: int) -> None:
        if not names:
            raise InputError(
                f"augmentation.corruption_share={share:g} is impossible without "
                "augmentation.corruptions; allowed: 0"
            )
        for name in names:
            try:
                corrupt(torch.zeros(1, 1, image_size, image_size), name, SEVERITIES)
            except InputError as error:
                raise InputError(
                    f"augmentation.corruptions={list(names)!r} is impossible: {error}"
                ) from None
        self.names = names
        self.share = share

    def __call__(self, pixels: Tensor) -> Tensor:
        """The image (C, H, W), or what a corruption makes of it."""
        if torch.rand(()).item() >= self.share:
            return pixels
        name = self.names[int(torch.randint(len(self.names), ()))]
        severity = 1 + int(torch.randint(SEVERITIES, ()))
        return corrupt(pixels[None], name, severity, seed=int(torch.randint(2**62, ())))[0]


class Noisy:
    """Gaussian noise, of a standard deviation drawn uniformly from 0 to `largest_std`."""

    def __init__(self, largest_std: float) -> None:
        self.largest_std = largest_std

    def __call__(self, pixels: Tensor) -> Tensor:
        """The image (C, H, W) with noise, cut off at black and white."""
        std = self.largest_std * torch.rand(())
        return (pixels + std * torch.randn(pixels.shape)).clamp_(0, 1)


class Erased:
    """A rectangle of noise on a share of the images: timm's random erasing.

    timm's noise is for normalised images. It is drawn on an empty image, brought to pixels by the
    mean and standard deviation of 0.5, and cut off at black and white.
    """

    def __init__(self, share: float) -> None:
        self.erase: Step = RandomErasing(  # type: ignore[no-untyped-call]
            share, mode="pixel", device="cpu"
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """The image (C, H, W), perhaps with a rectangle."""
        noise = self.erase(torch.full_like(pixels, torch.nan))
        return torch.where(noise.isnan(), pixels, (0.5 + 0.5 * noise).clamp(0, 1))

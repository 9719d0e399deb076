"""What training and evaluation take: labelled images in [0, 1] that know their name and classes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vonenet.errors import InputError


class ImageDataset(Dataset[tuple[Tensor, int]], ABC):
    """A set of labelled images, all of one size.

    Attributes:
        name: What result rows call the set; it names source, split and size.
        classes: Class names; a label is an index into them.
        labels: (N,) int64, known without opening an image.
    """

    def __init__(self, labels: Tensor, classes: Sequence[str], name: str) -> None:
        labels = labels.to(torch.int64)
        if len(labels) == 0:
            raise InputError(f"data set {name!r} holds no image; at least one is needed")
        if labels.min() < 0 or labels.max() >= len(classes):
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise InputError(
                f"labels of {name!r} run from {span}; allowed: 0 to {len(classes) - 1}"
            )
        self.labels = labels
        self.classes = tuple(classes)
        self.name = name

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""

    @abstractmethod
    def whole(self, index: int) -> Image.Image:
        """Returns one image as it is stored, neither resized nor cropped, for augmentation.

        Its mode is "L" where the set's images have one channel, "RGB" where they have three.

        Raises:
            BrokenImageError: If it cannot be decoded.
        """

    @abstractmethod
    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""

    def describe(self, index: int) -> str:
        """What an error calls one image: its path, where it has one."""
        return f"number {index} of {self.name!r}"

    def original(self, index: int) -> tuple[Image.Image, bytes | None]:
        """Returns one image in the mode that it is stored in, and its file where it is one.

        Raises:
            BrokenImageError: If it cannot be decoded.
        """
        return self.whole(index), None

    def subset(self, n: int) -> Self:
        """Returns the class-balanced first `n` images, in their order here.

        Raises:
            InputError: If `n` is below 1 or above the number of images.
        """
        if not 1 <= n <= len(self):
            raise InputError(f"cannot take n={n} of the images of {self.name!r}; 1 to {len(self)}")
        return self.select(balanced_first(self.labels, n))


class ImageArrays(ImageDataset):
    """Images held in memory.

    Args:
        images: (N, C, H, W), uint8 or floating point in [0, 1].
        labels: (N,) class indices.
        classes: Class names.
        name: What result rows call the set.

    Raises:
        InputError: If shapes, labels or pixel values are impossible.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str], name: str) -> None:
        super().__init__(labels, classes, name)
        if images.ndim != 4 or len(images) != len(labels):
            raise InputError(
                f"images of {name!r} have shape {tuple(images.shape)}; "
                f"allowed: (N, C, H, W) with one image for each of {len(labels)} labels"
            )
        if images.dtype != torch.uint8:
            check_pixels(images)
        self.images = images

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""
        image = self.images[index]
        pixels = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return pixels, int(self.labels[index])

    def whole(self, index: int) -> Image.Image:
        """Returns one image as it is stored; floating-point pixels are rounded to 256 levels.

        Raises:
            InputError: If it has neither 1 nor 3 channels.
        """
        image = self.images[index]
        if len(image) not in (1, 3):
            raise InputError(f"images of {self.name!r} have {len(image)} channels; allowed: 1, 3")
        levels = image if image.dtype == torch.uint8 else (image.double() * 255).round().byte()
        return Image.fromarray(levels.permute(1, 2, 0).squeeze(2).numpy())

    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""
        chosen = self.images[indices], self.labels[indices]
        return type(self)(*chosen, classes=self.classes, name=self.name)


def balanced_first(labels: Tensor, n: int) -> Tensor:
    """Indices, ascending, of the first images of every class: `n` in all, as evenly as they go."""
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    rank_in_class = torch.empty_like(labels)
    rank_in_class[by_class] = torch.arange(len(labels)) - starts
    return torch.argsort(rank_in_class, stable=True)[:n].sort().values


def check_pixels(images: Tensor) -> None:
    """Refuses images that are not finite floating-point pixels in [0, 1].

    Raises:
        InputError: Naming the type or the range found.
    """
    if not images.is_floating_point():
        raise InputError(f"pixels have type {images.dtype}; allowed: floating point in [0, 1]")
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # written so that a NaN is refused too
        raise InputError(f"pixels run from {low:.4g} to {high:.4g}; allowed: [0, 1]")

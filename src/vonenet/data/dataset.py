"""Labelled images of one size in [0, 1]: what training and evaluation take.

Order is fixed, labels are known without opening an image, and any process reads a set alike.
"""

import copy
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vonenet.bars import progress_bar
from vonenet.data.classes import match_classes
from vonenet.data.decoding import (
    BrokenImageError,
    as_channels,
    as_levels,
    centre_crop,
    decode,
    one_line,
)
from vonenet.data.digests import digest_of, place_of_digest, remembered
from vonenet.data.labels import checked_labels
from vonenet.errors import InputError
from vonenet.identity import HASH_LENGTH

THREADS = 16  # that decode at once, at most
AT_ONCE = 4096  # images that wait for a thread
CACHE_BYTES = 2**30  # 7,000 images of 224 px
# What decoding makes of a file: to be raised when a change gives the same file other pixels
PIXEL_RULES = 3
HOLDOUT_SEED = 0  # of the choice of held-out images, which is the same in every run

Found = TypeVar("Found")


class Source(ABC):
    """Labelled images as they are stored. It can be pickled, and any process reads it alike.

    Without class names the indices themselves are the names.

    Attributes:
        splits: The parts that the address has; () where it does not say.
        left_out: How many files there are that are not read, by suffix.
    """

    def __init__(self, labels: Any, classes: Sequence[str] = (), name: str = "the data") -> None:
        self.labels = checked_labels(labels, name)
        most = int(self.labels.max()) if len(self.labels) else -1
        self.classes = classes or [str(label) for label in range(most + 1)]
        self.splits: tuple[str, ...] = ()
        self.left_out: Mapping[str, int] = {}

    @abstractmethod
    def read(self, index: int) -> bytes | Image.Image:
        """Return one image file, or the image where the source keeps no files."""

    @abstractmethod
    def describe(self, index: int) -> str:
        """Return what errors call one image: its path, where it has one."""

    def file(self, index: int) -> str | None:
        """Return the path of the file that an image is read from; None where there is none."""
        return None

    def stored(self, index: int) -> bytes | Image.Image:
        """Return what `read` does; raise BrokenImageError where it cannot."""
        try:
            return self.read(index)
        except Exception as error:  # of the system, pyarrow, or torchvision's decoding
            raise BrokenImageError(self.describe(index), one_line(error)) from error

    def image(self, index: int) -> Image.Image:
        """Return one image in the mode that it is stored in; raise BrokenImageError on damage."""
        stored = self.stored(index)
        return decode(stored, self.describe(index)) if isinstance(stored, bytes) else stored


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """A set of labelled images, all of one size, decoded when they are asked for.

    Args:
        source: The images as they are stored.
        name: What result rows call the set; it names source, split and size.
        in_chans: 1 (grey) or 3 (RGB).
        size: Height and width in pixels.
        crop: Resize and cut others to that size, which is then a square; if False, refuse them.

    Attributes:
        labels: (N,) int64, known without opening an image.
        classes: Class names; a label is an index into them.

    Raises:
        InputError: If there is no image, or a label has no class.
    """

    def __init__(
        self, source: Source, name: str, *, in_chans: int, size: tuple[int, int], crop: bool = True
    ) -> None:
        labels = source.labels
        if len(labels) == 0:
            raise InputError(f"data set {name!r} holds no image; at least one is needed")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(source.classes):
            allowed = f"0 to {len(source.classes) - 1}"
            raise InputError(f"labels of {name!r} run from {low} to {high}; allowed: {allowed}")
        self.source = source
        self.name = name
        self.labels = labels
        self.classes = tuple(source.classes)
        self.in_chans = in_chans
        self.size = size
        self.crop = crop
        self.indices = torch.arange(len(labels))  # of the images in the source
        self._digests: dict[int, bytes] = {}  # of images in no file; parts share it
        self._kept: dict[int, Tensor] = {}
        self._room = 0  # bytes for images that are kept

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, (C, H, W) float32 in [0, 1], and its label."""
        levels = self._kept.get(index)
        if levels is None:
            image = self.whole(index)
            levels = as_levels(centre_crop(image, self.size[0]) if self.crop else image)
            if levels.shape[1:] != self.size:
                raise InputError(
                    f"image {self.describe(index)} is {size_text(*levels.shape[1:])}; stored "
                    f"images are not resized, so all must be {size_text(*self.size)} as the first"
                )
            if levels.numel() <= self._room:
                self._kept[index] = levels
                self._room -= levels.numel()
        return levels.float() / 255, int(self.labels[index])

    def whole(self, index: int) -> Image.Image:
        """Return one image, not resized, in mode "L" (one channel) or "RGB"; see `Source.image`."""
        return as_channels(self.source.image(int(self.indices[index])), self.in_chans)

    def describe(self, index: int) -> str:
        """Return what errors call one image: its path, where it has one."""
        return self.source.describe(int(self.indices[index]))

    def cached(self, most_bytes: int = CACHE_BYTES) -> Self:
        """Return the same images, each decoded once as long as there is room to keep it."""
        cached = copy.copy(self)
        cached._kept, cached._room = {}, most_bytes
        return cached

    def select(self, indices: Tensor) -> Self:
        """Return the images at `indices`, one at least, in that order; none is cached."""
        if len(indices) == 0:
            raise InputError(f"no image of data set {self.name!r} is left; at least one is needed")
        chosen = self.cached(0)
        chosen.labels, chosen.indices = self.labels[indices], self.indices[indices]
        return chosen

    def subset(self, n: int) -> Self:
        """Return the class-balanced first `n` images, in their order here."""
        if not 1 <= n <= len(self):
            raise InputError(f"cannot take n={n} of the images of {self.name!r}; 1 to {len(self)}")
        sizes = torch.bincount(self.labels)
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        rank_in_class = torch.empty_like(self.labels)
        rank_in_class[torch.argsort(self.labels, stable=True)] = torch.arange(len(self)) - starts
        return self.select(torch.argsort(rank_in_class, stable=True)[:n].sort().values)

    def of_classes(self, n: int) -> Self:
        """Return the images of `n` classes, evenly spaced in the order of all."""
        if not 1 <= n <= len(self.classes):
            allowed = f"1 to {len(self.classes)}"
            raise InputError(f"cannot take n={n} of the classes of {self.name!r}; {allowed}")
        kept = torch.arange(n) * len(self.classes) // n
        place = torch.full((len(self.classes),), -1)
        place[kept] = torch.arange(n)
        chosen = self.select((place[self.labels] >= 0).nonzero().flatten())
        chosen.labels = place[chosen.labels]
        chosen.classes = tuple(self.classes[i] for i in kept.tolist())
        chosen.name = f"{self.name}, {n} of {len(self.classes)} classes"
        return chosen

    def matched(self, classes: Sequence[str] | None, outputs: int) -> tuple[Self, str]:
        """Return the same images with a model's outputs as labels, and how they were matched.

        Args:
            classes: Names of the model's outputs, which become the classes; None: not known.
            outputs: Number of the model's outputs.

        Raises:
            InputError: If a class has no output (see `vonenet.data.classes.match_classes`).
        """
        match = match_classes(classes, outputs, self.classes)
        names = list(classes or map(str, range(outputs)))
        for output, name in zip(match.outputs, self.classes, strict=True):
            names[output] = names[output] if classes else name
        matched = copy.copy(self)
        matched.labels, matched.classes = torch.tensor(match.outputs)[self.labels], tuple(names)
        return matched, match.how

    def content_hash(self, *, progress: bool = False) -> str:
        """Return a short sha256 hash of class names, labels and content of the images, in order.

        The images are read once. Those of files that are the same since (by path, size and time)
        are not read again; nor are, by this set and its parts, those that are in no file.

        Raises:
            BrokenImageError: If an image cannot be read.
        """
        about = json.dumps(
            [PIXEL_RULES, self.classes, self.labels.tolist(), self._digest(progress)]
        )
        return hashlib.sha256(about.encode()).hexdigest()[:HASH_LENGTH]

    def _digest(self, progress: bool) -> str:
        """Return a digest of the images as they are stored, in order."""
        source, indices = self.source, self.indices.tolist()

        def digest_at(index: int) -> bytes:
            found = self._digests.get(index) or digest_of(source.stored(index))
            if source.file(index) is None:
                self._digests[index] = found
            return found

        def read() -> str:
            digest = hashlib.sha256()
            for found in look_at(digest_at, indices, progress=progress, what="read"):
                if isinstance(found, BrokenImageError):
                    raise found
                digest.update(found)
            return digest.hexdigest()

        place = place_of_digest(map(source.describe, indices), map(source.file, indices))
        return remembered(place, read)


class ImageArrays(ImageDataset):
    """Images held in memory, (N, C, H, W), uint8 or floating point in [0, 1].

    Raises:
        InputError: If shapes, labels or pixel values are impossible.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str], name: str) -> None:
        if images.ndim != 4 or len(images) != len(labels):
            raise InputError(
                f"images of {name!r} have shape {tuple(images.shape)}; "
                f"allowed: (N, C, H, W) with one image for each of {len(labels)} labels"
            )
        _, channels, height, width = images.shape
        source = ArraySource(images, labels, classes, name)
        super().__init__(source, name, in_chans=channels, size=(height, width))
        if images.dtype != torch.uint8:
            check_pixels(images)
        self.images = images

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        pixels = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return pixels, int(self.labels[index])

    def select(self, indices: Tensor) -> Self:
        """Return the images at `indices`, in that order, under the same name."""
        return type(self)(self.images[indices], self.labels[indices], self.classes, self.name)

    def _digest(self, progress: bool) -> str:
        images = self.images.contiguous()
        digest = hashlib.sha256(f"{images.dtype} {tuple(images.shape)}".encode())
        digest.update(images.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


class ArraySource(Source):
    """Images held in memory, of which floating-point ones are rounded to 256 levels."""

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str], name: str) -> None:
        super().__init__(labels, classes, repr(name))
        self.images, self.name = images, name

    def read(self, index: int) -> Image.Image:
        """Return one image."""
        image = self.images[index]
        if len(image) not in (1, 3):
            raise ValueError(f"it has {len(image)} channels; allowed: 1, 3")
        levels = image if image.dtype == torch.uint8 else (image.double() * 255).round().byte()
        return Image.fromarray(levels.permute(1, 2, 0).squeeze(2).numpy())

    def describe(self, index: int) -> str:
        """Return the number of one image."""
        return f"number {index} of {self.name!r}"


def size_text(height: int, width: int) -> str:
    """Return a size as names of data sets have it."""
    return f"{height}px" if height == width else f"{height}x{width}px"


def check_pixels(images: Tensor) -> None:
    """Raise InputError for images that are not finite floating-point pixels in [0, 1]."""
    if not images.is_floating_point():
        raise InputError(f"pixels have type {images.dtype}; allowed: floating point in [0, 1]")
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # written so that a NaN is refused too
        raise InputError(f"pixels run from {low:.4g} to {high:.4g}; allowed: [0, 1]")


def share_of(split: str) -> float | None:
    """Return the share that a split such as "10%" names; None for the name of a part."""
    number = re.fullmatch(r"\s*(\d*\.?\d+)\s*%\s*", split)
    if number is None:
        return None
    share = float(number[1]) / 100
    if not 0 < share < 1:
        raise InputError(f"split {split!r} is no share; allowed: above 0 %, below 100 %")
    return share


def held_out(dataset: ImageDataset, share: float) -> tuple[ImageDataset, ImageDataset]:
    """Return the images without a share of every class, and that share, one image at least."""
    generator = torch.Generator().manual_seed(HOLDOUT_SEED)
    chosen = torch.zeros(len(dataset), dtype=torch.bool)
    for label, name in enumerate(dataset.classes):
        members = (dataset.labels == label).nonzero().flatten()
        if len(members) == 1:
            what = f"class {name!r} of {dataset.name!r} has one image"
            raise InputError(f"{what}; needed: two or more, one of them for validation")
        count = max(1, round(share * len(members)))
        chosen[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    training, validation = (dataset.select(m.nonzero().flatten()) for m in (~chosen, chosen))
    validation.name += f" {100 * share:g}% held out"
    return training, validation


def readable(
    dataset: ImageDataset, *, progress: bool = True
) -> tuple[ImageDataset, list[BrokenImageError]]:
    """Decode every image once; return the set without those that cannot be, and their errors."""
    looks = look_at(lambda index: dataset.whole(index).size, range(len(dataset)), progress=progress)
    broken = {i: look for i, look in enumerate(looks) if isinstance(look, BrokenImageError)}
    errors = list(broken.values())
    if len(errors) == len(dataset):
        what = f"none of the {len(errors)} images of {dataset.name!r} can be read"
        raise InputError(f"{what}; {errors[0].image}: {errors[0].reason}")
    kept = torch.tensor([index for index in range(len(dataset)) if index not in broken])
    return (dataset.select(kept) if broken else dataset), errors


def look_at(
    look: Callable[[int], Found],
    indices: Sequence[int],
    *,
    progress: bool,
    what: str = "check images",
) -> Iterator[Found | BrokenImageError]:
    """Yield what a function finds at each index, or how it broke, in order; on several threads."""

    def safely(index: int) -> Found | BrokenImageError:
        try:
            return look(index)
        except BrokenImageError as error:
            return BrokenImageError(error.image, error.reason)  # without the traceback's images

    bar = progress_bar(total=len(indices), desc=what, unit="img", delay=1, shown=progress)
    with bar, ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(indices), AT_ONCE):
            for found in pool.map(safely, indices[start : start + AT_ONCE]):
                bar.update()
                yield found

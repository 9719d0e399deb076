"""Stored corruption benchmarks as published: ImageNet-C folders and CIFAR-10-C arrays.

Their images are at the size that models take, so they are never resized or cropped again.
"""

from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional

from vonenet.data.dataset import ImageArrays, ImageDataset
from vonenet.data.decoding import as_pixels
from vonenet.data.embedded import check_channels
from vonenet.data.folders import read_image_folder
from vonenet.data.stores import FileStore, ImagesOfStore, Labelled
from vonenet.errors import InputError

SEVERITIES = 5


def open_stored_corruption(
    root: Path | str, corruption: str, severity: int, *, in_chans: int = 3
) -> ImageDataset:
    """Opens one corruption at one severity of a stored benchmark.

    Args:
        root: Folder of ImageNet-C (or Tiny ImageNet-C), `<corruption>/<severity>/<class>/*.JPEG`;
            or of CIFAR-10-C (or CIFAR-100-C), `<corruption>.npy` and `labels.npy`, the severities
            one after the other.
        corruption: The benchmark's own name of it, e.g. "gaussian_noise".
        severity: 1 to 5.
        in_chans: 1 (grey) or 3 (RGB).

    Raises:
        InputError: If the root holds no such set, or one of another shape.
    """
    check_channels(in_chans)
    path = find_stored_corruption(root, corruption, severity)
    name = f"{root}/{corruption}/{severity}"
    if path.is_dir():
        files, labels, classes = read_image_folder(path)
        labelled = Labelled(FileStore(files), labels, classes)
        return StoredImages(labelled, name=name, in_chans=in_chans)
    return _read_arrays(path, severity, name=name, in_chans=in_chans)


def find_stored_corruption(root: Path | str, corruption: str, severity: int) -> Path:
    """The folder, or the array, that holds a corruption, without opening it.

    Raises:
        InputError: If the root has neither.
    """
    if severity not in range(1, SEVERITIES + 1):
        raise InputError(f"severity={severity} does not exist; allowed: 1 to {SEVERITIES}")
    folder, array = Path(root, corruption, str(severity)), Path(root, f"{corruption}.npy")
    if folder.is_dir():
        return folder
    if array.is_file():
        return array
    raise InputError(f"{str(root)!r} holds neither {corruption}/{severity}/ nor {corruption}.npy")


class StoredImages(ImagesOfStore):
    """Image files on disk, decoded when they are asked for and shown at their own size.

    Args:
        labelled: The images, their labels and class names.
        name: What result rows call the set, the size not yet in it.
        in_chans: 1 (grey) or 3 (RGB).
        size: Height and width of every image; the first image's if None.
        indices: (N,) numbers of the images in the store; all in its order if None.
    """

    def __init__(
        self,
        labelled: Labelled,
        *,
        name: str,
        in_chans: int,
        size: tuple[int, int] | None = None,
        indices: Tensor | None = None,
    ) -> None:
        if size is None:
            first, _ = labelled.store.image(0)
            size = (first.height, first.width)
            name = f"{name} {_size_words(*size)}"
        super().__init__(labelled, name=name, in_chans=in_chans, indices=indices)
        self.size = size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""
        pixels = as_pixels(self.whole(index))
        if pixels.shape[1:] != self.size:
            raise InputError(
                f"image {self.describe(index)} is {_size_words(*pixels.shape[1:])}; stored images "
                f"are not resized, so all must be {_size_words(*self.size)} as the first"
            )
        return pixels, int(self.labels[index])

    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""
        return type(self)(
            self.labelled,
            name=self.name,
            in_chans=self.in_chans,
            size=self.size,
            indices=self.indices[indices],
        )


def _read_arrays(path: Path, severity: int, *, name: str, in_chans: int) -> ImageArrays:
    """One severity's fifth of `path`, of which the other four are not read."""
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    labels = np.load(path.with_name("labels.npy"), allow_pickle=False)
    fits = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
    if not fits or len(labels) != len(images) or len(images) % SEVERITIES:
        raise InputError(
            f"{path} holds {images.dtype} of shape {images.shape} for {len(labels)} labels; "
            f"needed: uint8, (N, H, W, 3), N a multiple of {SEVERITIES}"
        )
    each = len(images) // SEVERITIES
    part = slice(each * (severity - 1), each * severity)
    pixels = torch.from_numpy(np.array(images[part])).permute(0, 3, 1, 2)
    if in_chans == 1:
        pixels = functional.rgb_to_grayscale(pixels)
    classes = [str(label) for label in range(int(labels.max()) + 1)]
    name = f"{name} {_size_words(*images.shape[1:3])}"
    return ImageArrays(pixels, torch.from_numpy(labels[part].astype(np.int64)), classes, name)


def _size_words(height: int, width: int) -> str:
    return f"{height}px" if height == width else f"{height}x{width}px"

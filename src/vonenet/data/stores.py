"""Where the images of a data set are kept: the interface, and files on disk."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import as_channels, broken_image, decode


class ImageStore(ABC):
    """Images by number. A store can be pickled, and is read alike in any process."""

    @abstractmethod
    def image(self, index: int) -> tuple[Image.Image, bytes | None]:
        """Returns one image in the mode that it is stored in, and its file where it is one.

        Raises:
            BrokenImageError: If it cannot be decoded.
        """

    @abstractmethod
    def describe(self, index: int) -> str:
        """What an error calls one image."""


class EncodedStore(ImageStore):
    """Images that are kept as image files."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file.

        Raises:
            BrokenImageError: If it cannot be read.
        """

    def image(self, index: int) -> tuple[Image.Image, bytes]:
        """Returns one image, decoded in the mode that it is in, and its file."""
        encoded = self.read(index)
        return decode(encoded, self.describe(index)), encoded


class Labelled(NamedTuple):
    """A store and what is known of its images without opening them: (N,) labels, class names."""

    store: ImageStore
    labels: Tensor
    classes: Sequence[str]


class FileStore(EncodedStore):
    """Image files on disk.

    Args:
        paths: A file per image.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        # One block of bytes: worker processes share it, which they do not with Python's objects.
        self._paths = np.array([os.fsencode(path) for path in paths])

    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file."""
        path = self.describe(index)
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # a Path takes as long as the opening
                return file.read()
        except OSError as error:
            raise broken_image(path, error.strerror or str(error)) from error

    def describe(self, index: int) -> str:
        """The path of one image."""
        return os.fsdecode(self._paths[index])


class ImagesOfStore(ImageDataset):
    """A data set whose images lie in a store; how they are cut to one size is left open.

    Args:
        labelled: The images, their labels and class names.
        name: What result rows call the set.
        in_chans: 1 (grey) or 3 (RGB).
        indices: (N,) numbers of the images in the store; all in its order if None.
    """

    def __init__(
        self, labelled: Labelled, *, name: str, in_chans: int, indices: Tensor | None
    ) -> None:
        indices = torch.arange(len(labelled.labels)) if indices is None else indices
        super().__init__(labelled.labels[indices], labelled.classes, name)
        self.labelled = labelled
        self.in_chans = in_chans
        self.indices = indices

    def whole(self, index: int) -> Image.Image:
        """Returns one image as it is stored, grey or RGB."""
        return as_channels(self.original(index)[0], self.in_chans)

    def original(self, index: int) -> tuple[Image.Image, bytes | None]:
        """Returns one image in the mode that it is stored in, and its file where it is one."""
        return self.labelled.store.image(int(self.indices[index]))

    def describe(self, index: int) -> str:
        """What an error calls one image: its path, where it has one."""
        return self.labelled.store.describe(int(self.indices[index]))

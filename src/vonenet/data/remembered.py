"""Images that are decoded once and kept in memory, for runs that look at them many times."""

from __future__ import annotations

from typing import Self

import torch
from PIL import Image
from torch import Tensor

from vonenet.data.dataset import ImageDataset

MOST_BYTES = 2**30  # 7,000 images of 224 px


class RememberedImages(ImageDataset):
    """The same images, decoded once.

    They are kept as bytes, and only those that bytes hold exactly, as long as there is room.

    Args:
        dataset: where the images come from.
        most_bytes: room for so much.
    """

    def __init__(self, dataset: ImageDataset, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(dataset.labels, dataset.classes, dataset.name)
        self.dataset = dataset
        self.most_bytes = most_bytes
        self._known: dict[int, Tensor] = {}
        self._room = most_bytes

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""
        if index in self._known:
            return self._known[index].float() / 255, int(self.labels[index])
        pixels, label = self.dataset[index]
        if pixels.numel() <= self._room:
            as_bytes = (pixels * 255).round().to(torch.uint8)
            if torch.equal(as_bytes.float() / 255, pixels):
                self._known[index] = as_bytes
                self._room -= as_bytes.numel()
        return pixels, label

    def whole(self, index: int) -> Image.Image:
        """Returns one image as it is stored, which is not remembered."""
        return self.dataset.whole(index)

    def original(self, index: int) -> tuple[Image.Image, bytes | None]:
        """Returns one image in the mode that it is stored in, and its file where it is one."""
        return self.dataset.original(index)

    def describe(self, index: int) -> str:
        """What an error calls one image: its path, where it has one."""
        return self.dataset.describe(index)

    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""
        return type(self)(self.dataset.select(indices), self.most_bytes)

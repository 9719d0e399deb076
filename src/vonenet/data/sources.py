"""Opens a data set by its address: the embedded images, an image folder, a parquet folder."""

import importlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import functional

from vonenet.data.dataset import ImageDataset
from vonenet.data.embedded import check_channels, load_embedded
from vonenet.errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# The ImageNet evaluation crop: shorter side 256, centre 224 (science.md section 2)
RESIZE_OVER_CROP = 256 / 224


def open_dataset(
    address: str, split: str = "test", *, image_size: int, in_chans: int = 3
) -> ImageDataset:
    """Opens the images at `address`.

    Args:
        address: "embedded"; a folder with one folder of images per class (or with such a folder
            named like the split in it); or a folder of Hugging Face parquet files
            `<split>-*.parquet`.
        split: "train" or "test", or what the folder calls its parts.
        image_size: Height and width in pixels. Images of that size are left as they are; others
            are resized (shorter side 256/224 of it) and centre-cropped.
        in_chans: 1 (grey) or 3 (RGB).

    Raises:
        InputError: If the address is none of these, or holds no image.
    """
    if address == "embedded":
        return load_embedded(split, image_size=image_size, in_chans=in_chans)
    folder = Path(address)
    if not folder.is_dir():
        raise InputError(
            f"no data at {address!r}; allowed: 'embedded', a folder of images (one folder per "
            "class), a folder of Hugging Face parquet files"
        )
    check_channels(in_chans)
    name = f"{address}/{split} {image_size}px"
    shape = (in_chans, image_size)
    if parquet := sorted(folder.rglob(f"{split}-*.parquet")):
        return EncodedImages(*_read_parquet(parquet), name=name, shape=shape)
    root = folder / split if (folder / split).is_dir() else folder
    return EncodedImages(*read_image_folder(root), name=name, shape=shape)


class EncodedImages(ImageDataset):
    """Image files on disk or in memory, decoded and cropped when they are asked for.

    Args:
        sources: A path, or the bytes of a file, per image.
        labels: (N,) class indices.
        classes: Class names.
        name: What result rows call the set.
        shape: Channels (1 or 3) and height = width in pixels.
    """

    def __init__(
        self,
        sources: Sequence[Path | bytes],
        labels: Tensor,
        classes: Sequence[str],
        *,
        name: str,
        shape: tuple[int, int],
    ) -> None:
        super().__init__(labels, classes, name)
        self.sources = sources
        self.shape = shape

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""
        in_chans, image_size = self.shape
        image = read_image(self.sources[index], in_chans, f"number {index} of {self.name!r}")
        return as_pixels(centre_crop(image, image_size)), int(self.labels[index])

    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""
        sources = [self.sources[i] for i in indices.tolist()]
        labels = self.labels[indices]
        return type(self)(sources, labels, self.classes, name=self.name, shape=self.shape)


def read_image(source: Path | bytes, in_chans: int, words: str = "") -> Image.Image:
    """Decodes a file, or the bytes of one, as grey (1 channel) or RGB (3).

    Raises:
        InputError: If it is no image; an image without a path is called `words`.
    """
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
            return image.convert("L" if in_chans == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        which = source if isinstance(source, Path) else words
        raise InputError(f"image {which} cannot be read: {error}") from error


def as_pixels(image: Image.Image) -> Tensor:
    """(C, H, W) float32 in [0, 1] of a grey or RGB image."""
    levels = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(levels).permute(2, 0, 1).float() / 255


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Resizes the shorter side to 256/224 of `size` and cuts out the central square.

    An image of that size already (CIFAR at 32 px, ImageNet-C at 224 px) is left as it is.
    """
    if image.size == (size, size):
        return image
    resized = functional.resize(image, round(size * RESIZE_OVER_CROP))
    cropped: Image.Image = functional.center_crop(resized, [size, size])
    return cropped


def read_image_folder(root: Path) -> tuple[list[Path], Tensor, list[str]]:
    """Lists a folder of class folders, both in sorted order: paths, labels, class names.

    Raises:
        InputError: If there is no image in it.
    """
    sources: list[Path] = []
    labels: list[int] = []
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    for label, class_name in enumerate(classes):
        found = (path for path in (root / class_name).rglob("*") if path.is_file())
        images = sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)
        sources += images
        labels += [label] * len(images)
    if not sources:
        raise InputError(f"folder {root} holds no image; needed: one folder of images per class")
    return sources, torch.tensor(labels), classes


def _read_parquet(paths: Sequence[Path]) -> tuple[list[bytes], Tensor, list[str]]:
    """Reads encoded images and labels from parquet files as Hugging Face writes them."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"reading {paths[0]} needs pyarrow: pip install pyarrow") from error
    tables = [parquet.read_table(path) for path in paths]
    columns = tables[0].column_names
    image_column = next((name for name in ("img", "image") if name in columns), None)
    if image_column is None or "label" not in columns:
        raise InputError(f"{paths[0]} has columns {columns}; needed: 'img' or 'image', and 'label'")
    sources = [row["bytes"] for table in tables for row in table[image_column].to_pylist()]
    labels = torch.tensor([label for table in tables for label in table["label"].to_pylist()])
    return sources, labels, _class_names(tables[0].schema.metadata) or _numbered(labels)


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    """Class names from the note that Hugging Face leaves in a parquet file; empty without."""
    info = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    names: list[str] = info.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    return names


def _numbered(labels: Tensor) -> list[str]:
    return [str(i) for i in range(int(labels.max()) + 1)]

"""Reads a folder with one folder of images per class."""

import os
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from vonenet.data.splits import SPLITS, choose_split
from vonenet.errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def split_folder(folder: Path, split: str, address: str) -> tuple[Path, str]:
    """The folder in which a split's class folders or shards lie, and what the split is called.

    A folder that holds no folder called as splits are has one part, whatever is asked for.

    Raises:
        InputError: If it has folders for splits, but none for this one.
    """
    if (folder / split).is_dir():
        return folder / split, split
    parts = [name for name in sorted(SPLITS) if _has_folders(folder / name)]
    if not parts:
        return folder, split
    found = choose_split(split, parts, address)
    return folder / found, found


def read_image_folder(root: Path) -> tuple[list[str], Tensor, list[str]]:
    """Lists a folder of class folders, both in sorted order: paths, labels, class names.

    Raises:
        InputError: If there is no image in it.
    """
    sources: list[str] = []
    labels: list[int] = []
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    for label, name in enumerate(tqdm(classes, desc=f"list {root}", delay=2, leave=False)):
        images = _images_below(root / name)
        sources += images
        labels += [label] * len(images)
    if not sources:
        raise InputError(f"folder {root} holds no image; needed: one folder of images per class")
    return sources, torch.tensor(labels), classes


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())


def _images_below(folder: Path) -> list[str]:
    """Paths of the images at any depth, in the order of their names, folder by folder."""
    found = [
        os.path.join(where, name)  # noqa: PTH118  # a million Paths take seconds
        for where, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122
    ]
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206

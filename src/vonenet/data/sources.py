"""Sets of images by address: folders, shards, parquet files, torchvision's, the hub's, embedded.

Sets by name are torchvision's own; `shards` says why parquet files and tar shards have readers of
their own.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.resources import files
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from filelock import FileLock
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms import functional

from vonenet.bars import progress_bar
from vonenet.data.dataset import ImageArrays, ImageDataset, Source, size_text
from vonenet.data.decoding import as_pixels, decode, one_line, read_image_file
from vonenet.data.folders import FolderSource, holds_class_folders
from vonenet.data.labels import checked_labels
from vonenet.data.shards import (
    ALL,
    SPLITS,
    HubSource,
    ParquetSource,
    TarSource,
    choose_split,
    files_by_part,
    files_of_split,
    find_tars,
    names_of,
)
from vonenet.errors import InputError
from vonenet.files import natural_key

# Those of torchvision with `train=` or `split=` and one class per image
TORCHVISION = (
    "CIFAR10", "CIFAR100", "Country211", "DTD", "FER2013", "FGVCAircraft", "FashionMNIST",
    "Flowers102", "Food101", "GTSRB", "ImageNet", "Imagenette", "KMNIST", "MNIST", "OxfordIIITPet",
    "PCAM", "Places365", "RenderedSST2", "STL10", "SVHN", "StanfordCars", "USPS",
)  # fmt: skip
# The part that is taken where none is asked for
TEST_SPLIT = ("test", ALL)
SEVERITIES = 5
# The images that come with the package; README.md there says where they are from
FILES = files("vonenet.data") / "files"
PHOTOGRAPHS = ("chelsea", "coffee")
FASHION_SIZE = 28
# In label order: https://github.com/zalandoresearch/fashion-mnist, section "Labels"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip


def open_dataset(
    address: str, split: str | Sequence[str] = TEST_SPLIT, *, image_size: int, in_chans: int = 3
) -> ImageDataset:
    """Open the images at `address`.

    Labels are known at once; images are read when they are asked for.

    Args:
        address: One of

            - "embedded";
            - a folder with one folder of images per class, or with such a folder for each split.
              Classes and images are in natural order: "2" comes before "10". A class may have no
              image. Folders and files that are hidden are passed over, and links to folders are
              followed once;
            - a folder of Hugging Face parquet files, `<split>-*.parquet`;
            - WebDataset shards: a folder that holds `<split>-*.tar`, or the paths of some, with
              braces or a glob, `/data/train-{000..099}.tar`: of those whose names or folders say
              so the split that is asked for, else "all";
            - "torchvision/NAME", e.g. torchvision/CIFAR10, which is downloaded to VONENET_DATA
              (~/.cache/vonenet/data) if it is not there;
            - "hub/OWNER/NAME" or "hub/OWNER/NAME:CONFIG", a set of images of the Hugging Face hub,
              read by its `datasets`.

            With "?classes=N" behind it, N of its classes, evenly spaced in their order.
        split: "train" or "test", or what the address calls its parts. Where there is no "test", but
            "val" or "validation", that is taken; the set's name says so. Data of one part, as a
            folder without folders of splits, have only "all", and are in no case taken for a part
            of another name. Of several names the first that is there is taken: so by default the
            test part, or else all of data of one part; and ("train", "all") is what to train on.
        image_size: Height and width in pixels. Images of that size are left as they are; others
            are resized (shorter side 256/224 of it) and centre-cropped.
        in_chans: 1 (grey) or 3 (RGB).

    Raises:
        InputError: If the address is none of these, has no such split, or holds no image.
    """
    address, asked, count = address.partition("?classes=")
    if asked:
        dataset = open_dataset(address, split, image_size=image_size, in_chans=in_chans)
        return dataset.of_classes(int(count) if count.isdecimal() and len(count) < 10 else 0)
    if address == "embedded":
        part = choose_split(split, ("train", "test"), address)
        return load_embedded(part, image_size=image_size, in_chans=in_chans)
    check_channels(in_chans)
    source: Source
    if address.endswith(".tar"):
        paths = find_tars(address)
        parts = files_by_part(paths, Path(os.path.commonpath(paths)).parent, split)
        splits = tuple(parts) if len(parts) > 1 else (ALL,)
        if splits == (ALL,) or names_of(split) == [ALL]:
            parts[ALL] = paths
        part = choose_split(split, parts, address)
        source, part = TarSource(parts[part]), "" if part == ALL else part
        source.splits = splits
    elif address.startswith("torchvision/"):
        source, part = _open_torchvision(address, split)
    elif address.startswith("hub/"):
        source = HubSource(address, split)
        part = source.split
    else:
        source, part = _open_folder(address, split)
    name = f"{address}/{part}" if part else address
    size = (image_size, image_size)
    return ImageDataset(source, f"{name} {image_size}px", in_chans=in_chans, size=size)


def load_embedded(split: str, *, image_size: int = 32, in_chans: int = 3) -> ImageArrays:
    """Load the embedded part of Fashion-MNIST, padded with zeros to the size asked for.

    There are 10,000 images to train and 2,000 to test, balanced over 10 classes, of 28 px and more,
    grey (1 channel) or with the grey level repeated in each colour (3).
    """
    if split not in ("train", "test"):
        raise InputError(f"split={split!r} is not in the embedded data; allowed: 'train', 'test'")
    if image_size < FASHION_SIZE:
        raise InputError(f"image_size={image_size} would cut embedded images; at least 28")
    check_channels(in_chans)
    with (FILES / "fashion_mnist_12k.npz").open("rb") as file, np.load(file) as arrays:
        images = torch.from_numpy(arrays[f"{split}_images"])[:, None]
        labels = torch.from_numpy(arrays[f"{split}_labels"])
    before = (image_size - FASHION_SIZE) // 2
    after = image_size - FASHION_SIZE - before
    images = pad(images, (before, after, before, after)).repeat(1, in_chans, 1, 1)
    return ImageArrays(images, labels, FASHION_CLASSES, f"embedded/{split} {image_size}px")


def photograph(name: str) -> Tensor:
    """Load a CC0 photograph, (3, H, W) float32: "chelsea" (300 px square) or "coffee" (400 px)."""
    if name not in PHOTOGRAPHS:
        raise InputError(f"no photograph is called {name!r}; allowed: {', '.join(PHOTOGRAPHS)}")
    return as_pixels(decode((FILES / f"{name}.jpg").read_bytes(), name))


def check_channels(in_chans: int) -> None:
    """Refuse any number of channels but 1 (grey) and 3 (RGB)."""
    if in_chans not in (1, 3):
        raise InputError(f"in_chans={in_chans} is not possible; allowed: 1 (grey), 3 (RGB)")


def open_stored_corruption(
    root: Path | str, corruption: str, severity: int, *, in_chans: int = 3
) -> ImageDataset:
    """Open one corruption at one severity of a benchmark as published.

    Its images are at the size that models take, so they are never resized or cropped again.

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
        source = FolderSource(path)
        width, height = source.image(0).size
        name = f"{name} {size_text(height, width)}"
        return ImageDataset(source, name, in_chans=in_chans, size=(height, width), crop=False)
    images = _load_array(path, mmap_mode="r")
    labels = checked_labels(_load_array(path.with_name("labels.npy")), f"{root}/labels.npy")
    fits = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
    if not fits or len(labels) != len(images) or len(images) % SEVERITIES:
        raise InputError(
            f"{path} holds {images.dtype} of shape {images.shape} for {len(labels)} labels; "
            f"needed: uint8, (N, H, W, 3), N a multiple of {SEVERITIES}"
        )
    each = len(images) // SEVERITIES
    part = slice(each * (severity - 1), each * severity)
    levels = torch.from_numpy(np.array(images[part])).permute(0, 3, 1, 2)
    levels = functional.rgb_to_grayscale(levels) if in_chans == 1 else levels
    name = f"{name} {size_text(*images.shape[1:3])}"
    return ImageArrays(levels, labels[part], (), name)


def _load_array(path: Path, **settings: Any) -> Any:
    try:
        return np.load(path, allow_pickle=False, **settings)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"array {path} cannot be read: {one_line(error)}") from error


def find_stored_corruption(root: Path | str, corruption: str, severity: int) -> Path:
    """Return the folder, or the array, that holds a corruption, without opening it."""
    if severity not in range(1, SEVERITIES + 1):
        raise InputError(f"severity={severity} does not exist; allowed: 1 to {SEVERITIES}")
    folder, array = Path(root, corruption, str(severity)), Path(root, f"{corruption}.npy")
    if folder.is_dir():
        return folder
    if array.is_file():
        return array
    raise InputError(f"{str(root)!r} holds neither {corruption}/{severity}/ nor {corruption}.npy")


def _open_folder(address: str, split: str | Sequence[str]) -> tuple[Source, str]:
    folder = Path(address).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"no data at {address!r}; allowed: 'embedded', a folder of images (one folder per "
            "class), of Hugging Face parquet files or of WebDataset shards, the path of shards "
            "(.tar), 'torchvision/NAME', 'hub/OWNER/NAME'"
        )
    parts = _part_folders(folder, names_of(split)) or {ALL: folder}
    source: Source
    if any(map(holds_class_folders, parts.values())):  # whatever archives lie beside them
        found = choose_split(split, parts, address)
        source = FolderSource(parts[found])
        _check_no_parquet(folder, parts[found], source)
    elif parquet := [path for path in folder.rglob("*.parquet") if path.is_file()]:
        paths, found, names = files_of_split(parquet, folder, split, address)
        source, parts = ParquetSource(paths), dict.fromkeys(names, folder)
    elif parts == {ALL: folder}:
        shards = [path for path in folder.glob("*.tar") if path.is_file()]
        if not shards:
            return FolderSource(folder), ALL  # which says what is missing
        paths, found, names = files_of_split(shards, folder, split, address)
        source, parts = TarSource(paths), dict.fromkeys(names, folder)
    else:
        found = choose_split(split, parts, address)
        shards = [path for path in parts[found].glob("*.tar") if path.is_file()]
        shards.sort(key=lambda path: natural_key(path.name))
        source = TarSource(shards) if shards else FolderSource(parts[found])
    source.splits = tuple(parts)
    return source, found


def _part_folders(folder: Path, asked: Sequence[str]) -> dict[str, Path]:
    """Return the folders of splits by name: they hold folders or shards, which classes do not."""
    return {
        path.name: path
        for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
        if path.name in SPLITS.union(asked) and path.is_dir()
        if any(each.is_dir() or each.suffix == ".tar" for each in path.iterdir())
    }


def _check_no_parquet(folder: Path, root: Path, source: Source) -> None:
    """Refuse a copy of a repository of the hub whose folders of pictures look like classes."""
    counts = source.labels.bincount(minlength=len(source.classes)).tolist()
    empty = [root / name for name, n in zip(source.classes, counts, strict=True) if not n]
    for place in (folder, *empty):
        if files := sorted(place.glob("*-of-*.parquet")):
            raise InputError(
                f"folder {folder} holds folders of images and parquet files, such as {files[0]}; "
                "needed: the address of a folder that holds one kind"
            )


class TorchvisionSource(Source):
    """The images of a torchvision data set, which errors call `name`, as it decodes them."""

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset, self._name = dataset, name
        kept = [each for each in ("targets", "labels", "_labels") if hasattr(dataset, each)]
        if kept:
            labels = getattr(dataset, kept[0])
        elif hasattr(dataset, "_samples"):
            labels = [label for _, label in dataset._samples]
        else:
            shown = progress_bar(range(len(dataset)), desc=f"labels of {name}", delay=2)
            labels = [dataset[index][1] for index in shown]
        numbers = checked_labels(labels, name)
        if len(numbers) != len(dataset):
            raise InputError(f"{name} has {len(numbers)} labels for {len(dataset)} images")
        classes = getattr(dataset, "classes", ())
        known = [each[0] if isinstance(each, tuple) else each for each in classes]  # ImageNet's
        super().__init__(numbers, known if len(known) > int(numbers.max()) else (), name)

    def read(self, index: int) -> Image.Image:
        """Return one image in the mode that the set has it in."""
        return self._dataset[index][0]  # type: ignore[no-any-return]

    def describe(self, index: int) -> str:
        """Return the number of one image."""
        return f"number {index} of {self._name}"


def _open_torchvision(address: str, split: str | Sequence[str]) -> tuple[Source, str]:
    name = address.removeprefix("torchvision/")
    if name not in TORCHVISION:
        allowed = ", ".join(TORCHVISION)
        raise InputError(f"no data set {address!r}; allowed: torchvision/NAME of {allowed}")
    build = getattr(torchvision.datasets, name)
    if "train" in signature(build).parameters:
        found = choose_split(split, ("train", "test"), address)
        dataset = _build(build, address, train=found == "train")
        source = TorchvisionSource(dataset, f"{address}/{found}")
        source.splits = ("train", "test")
        return source, found
    for found in names_of(split):
        try:
            dataset = _build(build, address, split=found)
            return TorchvisionSource(dataset, f"{address}/{found}"), found
        except ValueError as error:
            if "argument split" not in str(error):
                raise
            refusal = one_line(error)
    raise InputError(f"no split {names_of(split)[0]!r} in {address!r}: {refusal}")


def _build(build: Any, address: str, **part: Any) -> Any:
    """Build a torchvision set, after a download if it is not there, by one process at a time."""
    root = Path(os.environ.get("VONENET_DATA") or "~/.cache/vonenet/data").expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {root}, VONENET_DATA: {error}") from error
    if {"loader", "kwargs"}.intersection(signature(build).parameters):  # a set of image files
        part["loader"] = _load
    lock = FileLock(root / f".{address.removeprefix('torchvision/')}.lock")
    with lock if os.access(root, os.W_OK) else nullcontext():  # what can only be read needs none
        try:
            return build(root, **part)
        except (RuntimeError, OSError) as error:
            absent = f"{address} is not in {root}: {one_line(error)}"
        if "download" not in signature(build).parameters:
            raise InputError(absent)
        try:
            return build(root, download=True, **part)
        except Exception as error:  # of urllib, tarfile, zipfile, gdown...
            raise InputError(f"{absent}. Its download failed: {one_line(error)}") from error


def _load(path: str) -> Image.Image:
    return decode(read_image_file(path), path)

"""Sets of images by address: folders, shards, parquet files, torchvision's, the hub's, embedded.

Folders are listed by torchvision's ImageFolder, sets by name are torchvision's own; `shards` says
why parquet files and tar shards have readers of their own.
"""

import os
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
from tqdm import tqdm

from vonenet.data.dataset import ImageArrays, ImageDataset, Source, size_text
from vonenet.data.decoding import as_pixels, decode, one_line
from vonenet.data.shards import (
    ALSO_CALLED,
    SPLITS,
    HubSource,
    ParquetSource,
    TarSource,
    choose_split,
    files_of_split,
    find_tars,
)
from vonenet.errors import InputError

# Those of torchvision with `train=` or `split=` and one class per image
TORCHVISION = (
    "CIFAR10", "CIFAR100", "Country211", "DTD", "FER2013", "FGVCAircraft", "FashionMNIST",
    "Flowers102", "Food101", "GTSRB", "ImageNet", "Imagenette", "KMNIST", "MNIST", "OxfordIIITPet",
    "PCAM", "Places365", "QMNIST", "RenderedSST2", "STL10", "SVHN", "StanfordCars", "USPS",
)  # fmt: skip
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
    address: str, split: str = "test", *, image_size: int, in_chans: int = 3
) -> ImageDataset:
    """Open the images at `address`.

    Labels are known at once; images are read when they are asked for.

    Args:
        address: One of

            - "embedded";
            - a folder with one folder of images per class, or with such a folder for each split;
            - a folder of Hugging Face parquet files, `<split>-*.parquet`;
            - WebDataset shards: a folder that holds `<split>-*.tar`, or the paths of some, with
              braces or a glob, `/data/train-{000..099}.tar`, which are one part;
            - "torchvision/NAME", e.g. torchvision/CIFAR10, which is downloaded to VONENET_DATA
              (~/.cache/vonenet/data) if it is not there;
            - "hub/OWNER/NAME" or "hub/OWNER/NAME:CONFIG", a set of images of the Hugging Face hub,
              read by its `datasets`.
        split: "train" or "test", or what the address calls its parts. Where there is no "test", but
            "val" or "validation", that is taken; the set's name says so.
        image_size: Height and width in pixels. Images of that size are left as they are; others
            are resized (shorter side 256/224 of it) and centre-cropped.
        in_chans: 1 (grey) or 3 (RGB).

    Raises:
        InputError: If the address is none of these, has no such split, or holds no image.
    """
    if address == "embedded":
        return load_embedded(split, image_size=image_size, in_chans=in_chans)
    check_channels(in_chans)
    source: Source
    if address.endswith(".tar"):
        source, part = TarSource(find_tars(address)), ""
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

    Args:
        split: "train" (10,000 images) or "test" (2,000), balanced over 10 classes.
        image_size: Height and width in pixels, at least 28.
        in_chans: 1, or 3 for the grey level repeated in each colour.

    Raises:
        InputError: On an unknown split, a size below 28, or other channels.
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
    """Load a CC0 photograph, (3, H, W) float32: "chelsea" (300 px square) or "coffee" (400 px).

    Raises:
        InputError: On another name.
    """
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
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    labels = np.load(path.with_name("labels.npy"), allow_pickle=False).astype(np.int64)
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
    return ImageArrays(levels, torch.from_numpy(labels[part]), (), name)


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


class FolderSource(Source):
    """A folder with one folder of images, at any depth, per class, both in sorted order."""

    def __init__(self, root: Path) -> None:
        try:
            folder = torchvision.datasets.ImageFolder(str(root), allow_empty=True)
        except FileNotFoundError as error:
            needed = "needed: one folder of images per class"
            raise InputError(f"folder {root} holds no image; {needed}") from error
        # Folder by folder: "a/b.png" before "a-b/c.png", which as text are the other way round
        samples = sorted(folder.samples, key=lambda it: (it[1], it[0].split(os.sep)))  # noqa: PTH206
        super().__init__(torch.tensor([label for _, label in samples]), folder.classes)
        # One block of bytes: worker processes share it, which they do not with Python's objects
        self._paths = np.array([os.fsencode(path) for path, _ in samples])

    def read(self, index: int) -> bytes:
        """Return one image file."""
        return Path(self.describe(index)).read_bytes()

    def file(self, index: int) -> str:
        """Return the path of one image."""
        return self.describe(index)

    def describe(self, index: int) -> str:
        """Return the path of one image."""
        return os.fsdecode(self._paths[index])


def _open_folder(address: str, split: str) -> tuple[Source, str]:
    folder = Path(address).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"no data at {address!r}; allowed: 'embedded', a folder of images (one folder per "
            "class), of Hugging Face parquet files or of WebDataset shards, the path of shards "
            "(.tar), 'torchvision/NAME', 'hub/OWNER/NAME'"
        )
    if parquet := sorted(folder.rglob("*.parquet")):
        paths, found = files_of_split(parquet, folder, split, address)
        return ParquetSource(paths), found
    root, found = folder / split, split
    if not root.is_dir():  # a class may be called as a split is, but holds no folders
        parts = [name for name in SPLITS if any(path.is_dir() for path in folder.glob(f"{name}/*"))]
        found = choose_split(split, parts, address) if parts else split
        root = folder / found if parts else folder
    shards = sorted(root.glob("*.tar"))
    if shards and not any(path.is_dir() for path in root.iterdir()):
        paths, found = files_of_split(shards, root, found, address)
        return TarSource(paths), found
    return FolderSource(root), found


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
            shown = tqdm(range(len(dataset)), desc=f"labels of {name}", delay=2)
            labels = [dataset[index][1] for index in shown]
        array = np.asarray(labels)
        if array.shape != (len(dataset),) or array.dtype.kind not in "iu":
            raise InputError(f"{name} does not have a class number for each image")
        numbers = torch.from_numpy(array.astype(np.int64))
        classes = getattr(dataset, "classes", ())
        known = [each[0] if isinstance(each, tuple) else each for each in classes]  # ImageNet's
        super().__init__(numbers, known if len(known) > int(numbers.max()) else ())

    def read(self, index: int) -> Image.Image:
        """Return one image in the mode that the set has it in."""
        return self._dataset[index][0]  # type: ignore[no-any-return]

    def describe(self, index: int) -> str:
        """Return the number of one image."""
        return f"number {index} of {self._name}"


def _open_torchvision(address: str, split: str) -> tuple[Source, str]:
    name = address.removeprefix("torchvision/")
    if name not in TORCHVISION:
        allowed = ", ".join(TORCHVISION)
        raise InputError(f"no data set {address!r}; allowed: torchvision/NAME of {allowed}")
    build = getattr(torchvision.datasets, name)
    if "train" in signature(build).parameters:
        found = choose_split(split, ("train", "test"), address)
        dataset = _build(build, address, train=found == "train")
        return TorchvisionSource(dataset, f"{address}/{found}"), found
    for found in (split, *ALSO_CALLED.get(split, ())):
        try:
            dataset = _build(build, address, split=found)
            return TorchvisionSource(dataset, f"{address}/{found}"), found
        except ValueError as error:
            if "argument split" not in str(error):
                raise
            refusal = one_line(error)
    raise InputError(f"no split {split!r} in {address!r}: {refusal}")


def _build(build: Any, address: str, **part: Any) -> Any:
    """Build a torchvision set, after a download if it is not there, by one process at a time."""
    root = Path(os.environ.get("VONENET_DATA") or "~/.cache/vonenet/data").expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {root}, VONENET_DATA: {error}") from error
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

"""Opens torchvision's data sets for classification by name, downloading what is not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from filelock import FileLock
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from vonenet.data.decoding import broken_image
from vonenet.data.parquet import numbered
from vonenet.data.splits import choose_split, split_names
from vonenet.data.stores import ImageStore, Labelled
from vonenet.errors import InputError

PREFIX = "torchvision/"
# Those with `train=` or `split=` and one class per image
SETS = (
    "CIFAR10",
    "CIFAR100",
    "Country211",
    "DTD",
    "FER2013",
    "FGVCAircraft",
    "FashionMNIST",
    "Flowers102",
    "Food101",
    "GTSRB",
    "ImageNet",
    "Imagenette",
    "KMNIST",
    "MNIST",
    "OxfordIIITPet",
    "PCAM",
    "Places365",
    "QMNIST",
    "RenderedSST2",
    "STL10",
    "SVHN",
    "StanfordCars",
    "USPS",
)


def data_root() -> Path:
    """Where downloaded data lie: the environment's VONENET_DATA, or ~/.cache/vonenet/data."""
    return Path(os.environ.get("VONENET_DATA") or "~/.cache/vonenet/data").expanduser()


def open_torchvision(address: str, split: str) -> tuple[Labelled, str]:
    """Opens one split of `torchvision/NAME`.

    Returns:
        The images, and what the split is called there.

    Raises:
        InputError: If there is no such set or split, or it can neither be found nor downloaded.
    """
    name = address.removeprefix(PREFIX)
    if name not in SETS:
        raise InputError(f"no data set {address!r}; allowed: {PREFIX}NAME of {', '.join(SETS)}")
    build = getattr(torchvision.datasets, name)
    if "train" in signature(build).parameters:
        found = choose_split(split, ("train", "test"), address)
        dataset = _present(build, address, train=found == "train")
    else:
        dataset, found = _first_split(build, address, split)
    labels = _labels(dataset, f"{address}/{found}")
    store = TorchvisionStore(dataset, f"{address}/{found}")
    return Labelled(store, labels, _classes(dataset, labels)), found


class TorchvisionStore(ImageStore):
    """The images of a torchvision data set, as it decodes them.

    Args:
        dataset: Gives a Pillow image and something else for each number.
        name: What errors call it.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self._dataset = dataset
        self._name = name

    def image(self, index: int) -> tuple[Image.Image, None]:
        """Returns one image in the mode that the set has it in."""
        try:
            image: Image.Image = self._dataset[index][0]
        except Exception as error:  # see `decode`
            raise broken_image(self.describe(index), _line(error)) from error
        return image, None

    def describe(self, index: int) -> str:
        """The number of one image."""
        return f"number {index} of {self._name}"


def _first_split(build: Any, address: str, split: str) -> tuple[Any, str]:
    """The data set with the first name of the split that it knows, and that name."""
    for name in split_names(split):
        try:
            return _present(build, address, split=name), name
        except ValueError as error:
            if "argument split" not in str(error):
                raise
            refusal = _line(error)
    raise InputError(f"no split {split!r} in {address!r}: {refusal}")


def _present(build: Any, address: str, **part: Any) -> Any:
    """The data set, after a download if it is not there yet, by one process at a time."""
    root = data_root()
    with _alone(root / f".{address.removeprefix(PREFIX)}.lock"):
        try:
            return build(root, **part)
        except (RuntimeError, OSError) as error:
            absent = f"{address} is not in {root}: {_line(error)}"
        if "download" not in signature(build).parameters:
            raise InputError(absent)
        try:
            return build(root, download=True, **part)
        except Exception as error:  # of urllib, tarfile, zipfile, gdown...
            raise InputError(f"{absent}. Its download failed: {_line(error)}") from error


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keeps other processes out, unless the folder can only be read, which needs no lock."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {lock.parent}, VONENET_DATA: {error}") from error
    if not os.access(lock.parent, os.W_OK):
        yield
        return
    with FileLock(lock):
        yield


def _labels(dataset: Any, name: str) -> Tensor:
    """(N,) class indices, under one of the names where torchvision's classes keep them."""
    kept = [getattr(dataset, attribute, None) for attribute in ("targets", "labels", "_labels")]
    if hasattr(dataset, "_samples"):
        kept.append([label for _, label in dataset._samples])
    labels = next((each for each in kept if each is not None), None)
    if labels is None:
        shown = tqdm(range(len(dataset)), desc=f"labels of {name}", delay=2)
        labels = [dataset[index][1] for index in shown]
    array = np.asarray(labels)
    if array.shape != (len(dataset),) or array.dtype.kind not in "iu":
        raise InputError(f"{name} does not have one class number for each image")
    return torch.from_numpy(array.astype(np.int64))


def _classes(dataset: Any, labels: Tensor) -> list[str]:
    """Class names; of several for one class (ImageNet's) the first; numbers without."""
    kept = getattr(dataset, "classes", ())
    names = [each[0] if isinstance(each, tuple) else each for each in kept]
    return names if len(names) > int(labels.max()) else numbered(labels)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

"""The images that come with the package; data/files/README.md says where they are from."""

from importlib.resources import files

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from vonenet.data.dataset import ImageArrays
from vonenet.data.decoding import as_pixels, decode
from vonenet.errors import InputError

# In label order: https://github.com/zalandoresearch/fashion-mnist, section "Labels"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
FASHION_SIZE = 28
PHOTOGRAPHS = ("chelsea", "coffee")
FILES = files("vonenet.data") / "files"


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

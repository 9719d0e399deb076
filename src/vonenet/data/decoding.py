"""From the bytes of an image file to pixels: decoding, channels, the evaluation crop.

Nothing else decodes images. Whatever damage Pillow meets becomes one error that names the image;
decompression bombs are refused.
"""

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import functional

from vonenet.errors import InputError

# The usual ImageNet evaluation: shorter side 256, centre 224 (Krizhevsky et al. 2012, sections 2
# and 4.1, and torchvision's references/classification/presets.py)
RESIZE_OVER_CROP = 256 / 224


class BrokenImageError(InputError):
    """An image that cannot be decoded.

    Args:
        image: What errors call it: its path, shard and key, or file and row.
        reason: Why it cannot be decoded.
    """

    def __init__(self, image: str, reason: str = "") -> None:
        message = f"image {image} cannot be read: {reason}"
        if not reason:
            # A DataLoader raises a worker's error again from its traceback, which ends with it
            message = image.rpartition("BrokenImageError: ")[2].strip()
        super().__init__(message)
        self.image = image
        self.reason = reason


def decode(encoded: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file, which errors call `name`, in the mode that they are in.

    Raises:
        BrokenImageError: If they are no image, or not all of one.
    """
    if not encoded:
        raise BrokenImageError(name, "it is empty")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            return image
    except UnidentifiedImageError:
        raise BrokenImageError(name, "it is not an image that Pillow knows") from None
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, TypeError...
        raise BrokenImageError(name, one_line(error)) from error


def one_line(error: Exception) -> str:
    """Return what went wrong, in one line; an error without a message gives its type."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return said.partition("\n")[0] or type(error).__name__


def as_channels(image: Image.Image, in_chans: int) -> Image.Image:
    """Return an image in any mode as grey (1 channel, "L") or RGB (3), without transparency."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow would cut 16 bits off at level 255
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # or Pillow warns
    if image.mode == "LAB":
        image = image.convert("RGB")  # from which alone Pillow makes grey
    return image.convert("L" if in_chans == 1 else "RGB")


def as_levels(image: Image.Image) -> Tensor:
    """Return the (C, H, W) uint8 levels of a grey or RGB image."""
    levels = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(levels).permute(2, 0, 1)


def as_pixels(image: Image.Image) -> Tensor:
    """Return the (C, H, W) float32 pixels, in [0, 1], of a grey or RGB image."""
    return as_levels(image).float() / 255


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to 256/224 of `size` and cut out the central square.

    An image of that size already (CIFAR at 32 px, ImageNet-C at 224 px) is left as it is.
    """
    if image.size == (size, size):
        return image
    resized = functional.resize(image, round(size * RESIZE_OVER_CROP))
    cropped: Image.Image = functional.center_crop(resized, [size, size])
    return cropped

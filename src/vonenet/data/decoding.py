"""From the bytes of an image file to pixels: decoding, channels, the evaluation crop."""

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import functional

from vonenet.errors import InputError

# The ImageNet evaluation crop: shorter side 256, centre 224 (science.md section 2)
RESIZE_OVER_CROP = 256 / 224


class BrokenImageError(InputError):
    """An image that cannot be decoded.

    Attributes:
        image: What errors call it.
        reason: Why it cannot be decoded.
    """

    def __init__(self, message: str, image: str = "", reason: str = "") -> None:
        # A DataLoader raises what a worker raised once more, with the traceback in its message
        super().__init__(message.rpartition("BrokenImageError: ")[2].strip())
        self.image = image
        self.reason = reason


def broken_image(image: str, reason: str) -> BrokenImageError:
    """The error for an image, by what it is called and why it cannot be decoded."""
    return BrokenImageError(f"image {image} cannot be read: {reason}", image, reason)


def decode(encoded: bytes, words: str) -> Image.Image:
    """Decodes the bytes of an image file, in the mode that they are in.

    Raises:
        BrokenImageError: If they are no image, or not all of one; the image is called `words`.
    """
    if not encoded:
        raise broken_image(words, "it is empty")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            return image
    except UnidentifiedImageError:
        raise broken_image(words, "it is not an image that Pillow knows") from None
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, TypeError...
        raise broken_image(words, str(error).partition("\n")[0] or type(error).__name__) from error


def as_channels(image: Image.Image, in_chans: int) -> Image.Image:
    """Grey (1 channel, mode "L") or RGB (3) of an image in any mode; transparency is dropped."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow would cut 16 bits off at level 255
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # or Pillow warns
    if image.mode == "LAB":
        image = image.convert("RGB")  # from which alone Pillow makes grey
    return image.convert("L" if in_chans == 1 else "RGB")


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

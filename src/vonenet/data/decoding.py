"""From the bytes of an image file to pixels: decoding, channels, the evaluation crop.

Nothing else decodes images of users. Whatever damage Pillow meets becomes one error that names the
image. These rules hold for every command:

- Files of the raster formats of `FORMATS` are read, whatever their suffix; of an animation or of
  several pages the first picture.
- Pictures are turned upright, as EXIF's orientation says.
- White is the largest number of an integer type, of 8, 16 or 32 bits, and 1 of floating point.
- What is transparent shows middle grey, which the published models see as 0.
"""

import io
import stat
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import functional

from vonenet.errors import InputError

# Others, such as EPS, would start programs, or are no pictures of pixels
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of the files of these formats in folders and shards
SUFFIXES = frozenset({
    "bmp", "gif", "jfif", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
})  # fmt: skip
MOST_PIXELS = 89_478_485  # a quarter of a GiB as RGB; from here on Pillow warns
MOST_BYTES = 2**30  # of a file
# The usual ImageNet evaluation: shorter side 256, centre 224 (Krizhevsky et al. 2012, sections 2
# and 4.1, and torchvision's references/classification/presets.py)
RESIZE_OVER_CROP = 256 / 224
LONGEST = 64  # times the shorter side; of longer pictures only the middle is resized
GREY = 128  # level of what is transparent
# TIFF 6.0, sections 8 and 19
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, TIFF_SIGNED = 0, 2


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


def read_image_file(path: Path | str) -> bytes:
    """Return the bytes of an image file, which is never a pipe or a device.

    Raises:
        OSError: If it is none, or cannot be read.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a folder, a pipe or a device; needed: a file")
    if status.st_size > MOST_BYTES:
        raise OSError(f"it has {status.st_size:,} bytes; allowed: up to {MOST_BYTES:,}")
    return Path(path).read_bytes()


def decode(encoded: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file, which errors call `name`, in the mode that they are in.

    Deeper levels than 8 bits become mode "L"; `stored_mode` says what they were.

    Raises:
        BrokenImageError: If they are no image that is read, or not all of one, or too large.
    """
    if not encoded:
        raise BrokenImageError(name, "it is empty")
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                size = f"{image.width} x {image.height} pixels"
                raise ValueError(f"its size of {size} exceeds limit of {MOST_PIXELS:,}")
            image.load()
            with suppress(Exception):  # the pixels are right if a note is damaged
                ImageOps.exif_transpose(image, in_place=True)
            return _in_8_bits(image)
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise BrokenImageError(name, f"it is no image of a kind that is read: {kinds}") from None
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, TypeError...
        raise BrokenImageError(name, one_line(error)) from error


def read_image(path: Path | str) -> tuple[bytes, Image.Image]:
    """Return the bytes of an image file, and the image that `decode` makes of them.

    Raises:
        BrokenImageError: If it cannot be read.
    """
    try:
        encoded = read_image_file(path)
    except OSError as error:
        raise BrokenImageError(str(path), one_line(error)) from error
    return encoded, decode(encoded, str(path))


def load_pixels(path: Path | str, size: int, in_chans: int) -> Tensor:
    """Return an image file as evaluation shows it to a model, (C, size, size) in [0, 1].

    Raises:
        BrokenImageError: If it cannot be read.
    """
    return as_pixels(centre_crop(as_channels(read_image(path)[1], in_chans), size))


def one_line(error: Exception) -> str:
    """Return what went wrong, in one line; an error without a message gives its type."""
    said = (isinstance(error, OSError) and error.strerror) or str(error)
    return said.partition("\n")[0] or type(error).__name__


def stored_mode(image: Image.Image) -> str:
    """Return Pillow's name of the mode that an image's file has it in, such as "RGB" or "I;16"."""
    return str(image.info.get("stored_mode", image.mode))


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return an image of grey levels of 16 or 32 bits, or of floating point, in mode "L".

    Raises:
        ValueError: If no level can be right: beyond black and white, or black throughout though
            the levels differ from 0, as those of 8 bits in a deeper file.
    """
    if image.mode not in ("F", "I") and not image.mode.startswith("I;"):
        return image
    stored, bits = np.asarray(image), 16
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow inverts up to 8 bits only
            raise ValueError("its level 0 is white; needed: a file whose level 0 is black")
        signed = TIFF_SIGNED in tags.get(TIFF_SAMPLE_FORMAT, ())
        bits = tags[TIFF_BITS][0] - signed
        if image.mode == "I" and not signed:
            stored = stored.view(np.uint32)  # Pillow reads both as signed
    white = 1 if image.mode == "F" else 2**bits - 1
    low, high = stored.min(), stored.max()
    if not (low >= 0 and high <= white):  # written so that a NaN is refused too
        raise ValueError(f"its levels run from {low:.6g} to {high:.6g}; allowed: 0 to {white}")
    levels = np.rint(stored * 255) if image.mode == "F" else stored >> (bits - 8)
    if high > 0 and not levels.any():
        what = f"its largest level is {high:.6g}, and white is {white}: it would be black"
        raise ValueError(f"{what}; needed: levels of 0 to white, or a file of 8 bits")
    shallow = Image.fromarray(levels.astype(np.uint8))
    shallow.format, shallow.info["stored_mode"] = image.format, image.mode
    return shallow


def as_channels(image: Image.Image, in_chans: int) -> Image.Image:
    """Return an image as grey (1 channel, "L") or RGB (3); what is transparent is grey."""
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        image = Image.alpha_composite(behind, colours)
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
    longest = LONGEST * min(image.size)
    if max(image.size) > longest:  # 1 x 100,000 px would become 256 x 25,600,000
        sides = [min(side, longest + (side - longest) % 2) for side in (image.height, image.width)]
        image = functional.center_crop(image, sides)
    resized = functional.resize(image, round(size * RESIZE_OVER_CROP))
    cropped: Image.Image = functional.center_crop(resized, [size, size])
    return cropped

"""Arrays -> pictures inside the page: PNG data addresses, mosaics of kernels, response maps."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

Array = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]


def data_address(pixels: Pixels) -> str:
    """A PNG as a `data:` address, lossless.

    Args:
        pixels: H, W or H, W, 3.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def photo(image: Array) -> Pixels:
    """An image (C, H, W) in [0, 1], C = 1 or 3, as pixels."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def response_map(response: Array, highest: float) -> Pixels:
    """A map (H, W) of responses from 0 (black) to `highest` (bright), in colour."""
    return _colored(np.clip(response / max(highest, 1e-12), 0, 1), "magma")


def kernel_map(kernel: Array) -> Pixels:
    """A kernel (k, k) in colour, each on its own symmetric scale: 0 white, signs red and blue."""
    largest = max(float(np.abs(kernel).max()), 1e-12)
    return _colored(kernel / largest / 2 + 0.5, "RdBu_r")


def kernel_mosaic(kernels: Array, columns: int, *, scale: int = 3, gap: int = 3) -> Pixels:
    """Kernels (n, k, k) side by side, row by row, on white, each pixel drawn `scale` wide."""
    n, k, _ = kernels.shape
    rows, side = -(-n // columns), k * scale
    canvas = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for index, kernel in enumerate(kernels):
        top, left = (position * (side + gap) for position in divmod(index, columns))
        tile = kernel_map(kernel).repeat(scale, axis=0).repeat(scale, axis=1)
        canvas[top : top + side, left : left + side] = tile
    return canvas


def _colored(values: Array, colormap: str) -> Pixels:
    rgba: Array = colormaps[colormap](values)
    return np.round(rgba[..., :3] * 255).astype(np.uint8)

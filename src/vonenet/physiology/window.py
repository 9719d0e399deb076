"""Finds the part of a canvas that the recorded units see, so that no more of it need be shown.

A unit of an early layer sees some thirty pixels. Where the model gives the very same responses to
a crop around them as to the whole canvas, whatever is outside, crops are all that has to be drawn
and computed: a fiftieth of the pixels of a V1 block. Whether it does is measured, not derived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.physiology.canvas import Canvas, Window

Units: TypeAlias = npt.NDArray[np.int64]  # (n, 3): channel, row, column
ToMap: TypeAlias = Callable[[Tensor], Tensor]

# Margins around the units that are tried, in steps of the layer's map
MARGINS = (4, 6, 8, 12, 16, 24, 32, 48)
PROBES = 4
# Two ways to sum the same numbers differ by less, in units of the largest response
SAME = 1e-5


def find_window(
    to_map: ToMap, canvas: Canvas, units: Units, device: torch.device
) -> tuple[Window, Units]:
    """The smallest crop to which the units respond as to the whole canvas.

    Args:
        to_map: Images (B, C, H, W) -> the layer's deterministic map (B, channels, H', W').
        canvas: The whole.
        units: On the map of the whole canvas.
        device: Where images go.

    Returns:
        The window, and the units on its map; the whole canvas and the same units where no crop
        does, be it that the units see everything or that the model takes images of one size only.
    """
    images = probe_images(canvas).to(device)
    whole = to_map(images)
    expected = pick(whole, units)
    stride = canvas.pixels // whole.shape[2]
    if stride * whole.shape[2] != canvas.pixels or whole.shape[2] != whole.shape[3]:
        return canvas.whole, units
    for margin in MARGINS:
        first = units[:, 1:].min(axis=0) - margin
        last = units[:, 1:].max(axis=0) + margin
        if first.min() < 0 or last.max() > whole.shape[2]:
            break
        top, left = (first * stride).tolist()
        height, width = ((last - first) * stride).tolist()
        moved = units - np.array([0, *first])
        crop = images[:, :, top : top + height, left : left + width]
        if _are_same(to_map, crop, moved, expected):
            return Window(top, left, height, width), moved
    return canvas.whole, units


def probe_images(canvas: Canvas, n: int = PROBES) -> Tensor:
    """Noise at all frequencies, (n, in_chans, pixels, pixels) in [0, 1], the same every time."""
    generator = torch.Generator().manual_seed(0)
    shape = (n, canvas.in_chans, canvas.pixels, canvas.pixels)
    fine = torch.rand(shape, generator=generator)
    coarse = torch.rand((*shape[:2], 8, 8), generator=generator)
    return (fine + torch.nn.functional.interpolate(coarse, size=shape[2:])) / 2


def pick(maps: Tensor, units: Units) -> Tensor:
    """Responses of units, (B, n), in a map (B, C, H, W)."""
    channel, row, column = torch.from_numpy(units).to(maps.device).T
    return maps[:, channel, row, column]


def _are_same(to_map: ToMap, crop: Tensor, units: Units, expected: Tensor) -> bool:
    try:
        found = to_map(crop)
    except InputError:  # the model wants its own size
        return False
    if units[:, 1].max() >= found.shape[2] or units[:, 2].max() >= found.shape[3]:
        return False
    return bool((pick(found, units) - expected).abs().max() <= SAME * expected.abs().max())


def central_units(channels: int, size: Sequence[int]) -> Units:
    """Every channel at the middle of a map: row height // 2, column width // 2.

    On an odd map that is its centre. On an even one it is the position whose receptive field is
    centred half a pixel right of and below the canvas's centre, where a padded convolution of any
    stride puts it.
    """
    height, width = size
    return np.array([(channel, height // 2, width // 2) for channel in range(channels)])

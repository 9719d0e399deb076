"""The water of spatter: drops that refract, by way of their edges.

The generator's chain, on whole levels as OpenCV has them: Canny's edges, chamfer distance from
them, truncated and smoothed, histogram equalised, embossed, smoothed. All of it happens on the
CPU, where the drops were drawn.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import pad

CANNY_THRESHOLDS = (50, 150)
TAN_22_5 = 13573  # in units of 2**-15, as OpenCV's Canny has it
# Chamfer steps of Borgefors 1986 for a 5 x 5 mask (straight, diagonal, knight's), times 2**16
STRAIGHT, DIAGONAL, KNIGHT = 65536, 91750, 143976
FAR = 1 << 29
FARTHEST_PX = 20
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def water(liquid: Tensor) -> Tensor:
    """How much of the water's colour the drops add, at most 1.

    Args:
        liquid: (B, H, W) thickness, 0 where it is dry.

    Returns:
        (B, H, W); all 0 for an image without water.
    """
    levels = (255 * liquid).floor().clamp(0, 255)
    distance = torch.from_numpy(chamfer_distance(canny_edges(levels)))
    shade = _box3(distance.clamp(max=FARTHEST_PX)).float().floor()
    shade = torch.stack([_equalised(each) for each in shade.to(torch.uint8)])
    refracted = levels * _box3(_embossed(shade)).round()
    most = refracted.amax(dim=(1, 2), keepdim=True)
    return refracted / most.where(most > 0, 1)


def canny_edges(levels: Tensor) -> np.ndarray:
    """Canny's edges with a 3 x 3 Sobel operator and the L1 norm.

    Args:
        levels: (B, H, W) whole numbers from 0 to 255.

    Returns:
        (B, H, W) bool.
    """
    low, high = CANNY_THRESHOLDS
    down, right = _sobel(levels)
    magnitude = down.abs() + right.abs()
    candidates = (magnitude > low) & _is_ridge(magnitude, down, right)
    strong = candidates & (magnitude > high)
    touching = np.zeros((3, 3, 3))
    touching[1] = 1  # edges of one image connect, images do not
    labels, count = ndimage.label(candidates.numpy(), touching)
    kept = np.zeros(count + 1, dtype=bool)
    kept[labels[strong.numpy()]] = True
    edges: np.ndarray = kept[labels]
    return edges


def chamfer_distance(edges: np.ndarray) -> np.ndarray:
    """Distance in px to the nearest edge, in straight, diagonal and knight's steps (float64)."""
    start = np.where(edges, 0, FAR).astype(np.int32)
    forth = _sweep_down(start)
    back = _sweep_down(forth[:, ::-1, ::-1])[:, ::-1, ::-1]
    return back / float(STRAIGHT)


def _sobel(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Vertical and horizontal derivatives, int32, edge pixels repeated."""
    padded = pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0].int()
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return rows[:, 2:] - rows[:, :-2], columns[:, :, 2:] - columns[:, :, :-2]


def _is_ridge(magnitude: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Whether the gradient is greatest here along its own direction, of four."""
    height, width = magnitude.shape[1:]
    padded = pad(magnitude, (1, 1, 1, 1))

    def neighbour(dy: int, dx: int) -> Tensor:
        return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    steep, flat = down.abs() << 15, right.abs() * TAN_22_5
    across = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    upright = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    falling = (magnitude > neighbour(-1, -1)) & (magnitude > neighbour(1, 1))
    rising = (magnitude > neighbour(-1, 1)) & (magnitude > neighbour(1, -1))
    diagonal = torch.where((down < 0) != (right < 0), rising, falling)
    # tan(67.5 deg) = 2 + tan(22.5 deg)
    others = torch.where(steep > flat + (right.abs() << 16), upright, diagonal)
    return torch.where(steep < flat, across, others)


def _sweep_down(start: np.ndarray) -> np.ndarray:
    """Spreads distances downwards and, within a row, to the right."""
    height, width = start.shape[1:]
    swept = np.full((len(start), height + 2, width + 4), FAR, dtype=np.int32)
    ramp = STRAIGHT * np.arange(width, dtype=np.int32)
    for y in range(height):
        above, next_above = swept[:, y + 1], swept[:, y]
        far = np.minimum(above[:, :-4], above[:, 4:])
        far = np.minimum(far, np.minimum(next_above[:, 1:-3], next_above[:, 3:-1])) + KNIGHT
        near = np.minimum(above[:, 1:-3], above[:, 3:-1]) + DIAGONAL
        best = np.minimum(np.minimum(far, near), above[:, 2:-2] + STRAIGHT)
        best = np.minimum(best, start[:, y]) - ramp
        swept[:, y + 2, 2:-2] = np.minimum.accumulate(best, axis=1) + ramp
    return swept[:, 2:, 2:-2]


def _equalised(levels: Tensor) -> Tensor:
    """Spreads the levels of (H, W) over 0 to 255 by their cumulative histogram."""
    counts = levels.flatten().bincount(minlength=256)
    lowest = int(levels.min())
    rest = levels.numel() - int(counts[lowest])
    if rest == 0:
        return levels.float()
    counts[lowest] = 0
    table = (counts.cumsum(0).float() * (255 / rest)).round()
    return table[levels.long()]


def _box3(images: Tensor) -> Tensor:
    """Means of 3 x 3 pixels, mirrored about the edge pixels."""
    padded = _mirrored(images)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) * (1 / 9)


def _embossed(shade: Tensor) -> Tensor:
    """Correlates with `EMBOSS` and keeps to 0 to 255."""
    height, width = shade.shape[1:]
    padded = _mirrored(shade)
    total = torch.zeros_like(shade)
    for y, row in enumerate(EMBOSS):
        for x, weight in enumerate(row):
            total += weight * padded[:, y : y + height, x : x + width]
    return total.clamp(0, 255)


def _mirrored(images: Tensor) -> Tensor:
    return pad(images[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]

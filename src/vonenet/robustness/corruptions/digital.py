"""Digital: contrast, elastic transform, pixelation, JPEG and saturation."""

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from vonenet.robustness.corruptions.blur import smooth
from vonenet.robustness.corruptions.noise import Generators, uniform


def contrast(images: Tensor, factor: float, _: Generators) -> Tensor:
    """Scale contrast about each channel's mean."""
    means = images.mean(dim=(2, 3), keepdim=True)
    return factor * (images - means) + means


def elastic_transform(
    images: Tensor, constant: tuple[float, float, float], generators: Generators
) -> Tensor:
    """Warp by a random affine map and then by a smooth random displacement, in pixels.

    This is the benchmark's own transform, not the simpler one of later libraries. It resamples
    twice, with other borders each time, as the published code does.
    """
    alpha_px, sigma_px, affine_px = constant
    height, width = images.shape[-2:]
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    grid = torch.stack([x, y])
    corner_shifts = uniform(generators, (3, 2), -affine_px, affine_px)
    warped = _sample(images, _affine_coordinates(corner_shifts, grid), repeat_edge=False)
    field = uniform(generators, (2, height, width), -1, 1).to(images)
    displacement = alpha_px * smooth(field, sigma_px, truncate=3, border="reflect")
    return _sample(warped, grid.to(images) + displacement, repeat_edge=True)


def pixelate(images: Tensor, share: float, _: Generators) -> Tensor:
    """Shrink to a share of the size and enlarge again, both with Pillow's box filter."""
    height, width = images.shape[-2:]
    small_height, small_width = int(share * height), int(share * width)
    small = _resize_box(images, small_height, small_width)
    return _resize_box(small, height, width)


def jpeg_compression(images: Tensor, quality: int, _: Generators) -> Tensor:
    """Store as JPEG and decode again."""
    levels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = []
    for image in levels:
        file = io.BytesIO()
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.save(file, "JPEG", quality=quality)
        decoded.append(np.array(Image.open(file)).reshape(image.shape))
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(images) / 255


def saturate(images: Tensor, constant: tuple[float, float], _: Generators) -> Tensor:
    """Scale the saturation of HSV and add to it.

    Grey in a colour image has red's hue, as in skimage; an image of one channel has no saturation
    to change.
    """
    if images.shape[1] == 1:
        return images
    factor, added = constant
    value = images.amax(dim=1, keepdim=True)
    depth = value - images  # value times saturation times the share of each colour
    saturation = depth.amax(dim=1, keepdim=True) / value.where(value > 0, 1)
    wanted = (factor * saturation + added).clamp(0, 1)
    red = value * value.new_tensor([0, 1, 1]).reshape(3, 1, 1)
    is_grey = saturation == 0
    full = torch.where(is_grey, red, depth / saturation.where(~is_grey, 1))
    return value - wanted * full


def _affine_coordinates(corner_shifts: Tensor, grid: Tensor) -> Tensor:
    """Compute where an affine map takes each pixel's colour from: (B, 2, H, W) x and y, float64.

    It moves the lower right, the upper right and the upper left corner of a square about the
    centre, whose half side is a third of the shorter side, by shifts (B, 3, 2) in pixels.
    """
    height, width = grid.shape[1:]
    half = min(height, width) // 3
    signs = corner_shifts.new_tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    corners = signs * half + torch.tensor([width // 2, height // 2])
    moved = corners + corner_shifts
    ones = moved.new_ones(*moved.shape[:2], 1)
    back = torch.linalg.solve(torch.cat([moved, ones], dim=2), corners.expand_as(moved))
    x, y = grid.double()
    columns, rows, shift = back[..., None, None].unbind(dim=1)
    coordinates: Tensor = columns * x + rows * y + shift
    return coordinates


def _sample(images: Tensor, coordinates: Tensor, *, repeat_edge: bool) -> Tensor:
    """Sample bilinearly at (B, 2, H, W) x, y; borders mirror, with edge pixels twice or once."""
    height, width = images.shape[-2:]
    sides = coordinates.new_tensor([width, height]).reshape(2, 1, 1)
    scaled = (2 * coordinates + 1) / sides - 1 if repeat_edge else 2 * coordinates / (sides - 1) - 1
    return grid_sample(
        images,
        scaled.permute(0, 2, 3, 1).to(images),
        padding_mode="reflection",
        align_corners=not repeat_edge,
    )


def _resize_box(images: Tensor, height: int, width: int) -> Tensor:
    """Resize with Pillow's box filter, which averages whole pixels with equal weights."""
    down = _box_weights(images.shape[-2], height).to(images)
    across = _box_weights(images.shape[-1], width).to(images)
    return down @ images @ across.T


@lru_cache(maxsize=64)
def _box_weights(old: int, new: int) -> Tensor:
    """Return (new, old) weights: pixels with centres within half an output pixel, at least one."""
    scale = old / new
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    distance = torch.arange(old) + 0.5 - centres[:, None]
    half = max(scale, 1) / 2
    inside = ((distance > -half) & (distance <= half)).double()
    return inside / inside.sum(dim=1, keepdim=True)

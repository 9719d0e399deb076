"""Digital: contrast, elastic transform, pixelation and JPEG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample

from vonenet.robustness.corruption.draws import Generators, uniform
from vonenet.robustness.corruption.filters import resize_box, smooth


def contrast(images: Tensor, factor: float, _: Generators) -> Tensor:
    """Scales contrast about each channel's mean."""
    means = images.mean(dim=(2, 3), keepdim=True)
    return factor * (images - means) + means


def elastic_transform(
    images: Tensor, constant: tuple[float, float, float], generators: Generators
) -> Tensor:
    """Warps by a random affine map and then by a smooth random displacement, in pixels.

    This is the benchmark's own transform, not the plainer one of later libraries. It resamples
    twice, with other borders each time, as the generator does.
    """
    alpha_px, sigma_px, affine_px = constant
    size = images.shape[-2:]
    corner_shifts = uniform(generators, (3, 2), -affine_px, affine_px)
    warped = _sample(images, affine_coordinates(corner_shifts, *size), repeat_edge=False)
    field = uniform(generators, (2, *size), -1, 1).to(images)
    displaced = pixel_grid(*size).to(images) + alpha_px * smooth(
        field, sigma_px, truncate=3, border="reflect"
    )
    return _sample(warped, displaced, repeat_edge=True)


def pixelate(images: Tensor, share: float, _: Generators) -> Tensor:
    """Shrinks to a share of the size and back with Pillow's box filter."""
    small = resize_box(images, [int(share * side) for side in images.shape[-2:]])
    return resize_box(small, images.shape[-2:])


def jpeg_compression(images: Tensor, quality: int, _: Generators) -> Tensor:
    """Stores as JPEG and decodes again."""
    levels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_through_jpeg(image, quality) for image in levels])
    return torch.from_numpy(decoded).permute(0, 3, 1, 2).to(images) / 255


def affine_coordinates(corner_shifts: Tensor, height: int, width: int) -> Tensor:
    """Where an affine map that moves three corners takes each pixel's colour from.

    Args:
        corner_shifts: (B, 3, 2) x and y, in pixels, by which the map moves the lower right, the
            upper right and the upper left corner of a square about the centre, whose half side is
            a third of the shorter side.
        height: Of the image.
        width: Of the image.

    Returns:
        (B, 2, H, W) x and y in pixels, float64.
    """
    half = min(height, width) // 3
    signs = corner_shifts.new_tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    corners = signs * half + torch.tensor([width // 2, height // 2])
    moved = corners + corner_shifts
    ones = moved.new_ones(*moved.shape[:2], 1)
    back = torch.linalg.solve(torch.cat([moved, ones], dim=2), corners.expand_as(moved))
    grid = pixel_grid(height, width).double()
    columns, rows, shift = back[..., None, None].unbind(dim=1)
    coordinates: Tensor = columns * grid[0] + rows * grid[1] + shift
    return coordinates


def pixel_grid(height: int, width: int) -> Tensor:
    """(2, H, W): x and y of every pixel."""
    x, y = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
    return torch.stack([x, y])


def _sample(images: Tensor, coordinates: Tensor, *, repeat_edge: bool) -> Tensor:
    """Bilinear samples at (B, 2, H, W) x, y; borders mirror, with edge pixels twice or once."""
    height, width = images.shape[-2:]
    sides = coordinates.new_tensor([width, height]).reshape(2, 1, 1)
    scaled = (2 * coordinates + 1) / sides - 1 if repeat_edge else 2 * coordinates / (sides - 1) - 1
    return grid_sample(
        images,
        scaled.permute(0, 2, 3, 1).to(images),
        padding_mode="reflection",
        align_corners=not repeat_edge,
    )


def _through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, C) levels as a JPEG shows them."""
    file = io.BytesIO()
    picture = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    picture.save(file, "JPEG", quality=quality)
    return np.array(Image.open(file)).reshape(levels.shape)

"""Gaussian blur as two matrix products: exact, with reflected borders, at any width.

A Gaussian is a product of one along the rows and one along the columns. Kernels as wide as 69
pixels at full resolution, as the subcortical stage has, take a twentieth of the time of a
convolution so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GaussianBlur(nn.Module):
    """Weigh the pixels around each by exp(-d^2 / radius^2), within a square window.

    Args:
        radius_px: distance at which the weight is 1/e, pixels.
        kernel_size: side of the window, pixels, odd.
        total: sum of the weights; None: they are left as they are, the central one 1.
    """

    profile: Tensor

    def __init__(self, radius_px: float, kernel_size: int, total: float | None = 1.0) -> None:
        super().__init__()
        profile = gaussian_profile(radius_px, kernel_size)
        if total is not None:
            profile = profile * (math.sqrt(total) / profile.sum())
        # Not saved: the settings give it
        self.register_buffer("profile", profile.to(torch.get_default_dtype()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return blurred images, (B, C, H, W) as given."""
        return blurred(images, self.profile.to(images.dtype))


@torch.fx.wrap
def blurred(images: Tensor, profile: Tensor) -> Tensor:
    """Convolve rows and columns of images (B, C, H, W) with a profile, borders reflected."""
    height, width = images.shape[-2:]
    return blur_matrix(profile, height) @ images @ blur_matrix(profile, width).T


def gaussian_profile(radius_px: float, kernel_size: int) -> Tensor:
    """Return exp(-d^2 / radius^2) for the distances d of a window of odd side; float64."""
    offsets = torch.arange(kernel_size, dtype=torch.float64, device="cpu") - kernel_size // 2
    return torch.exp(-((offsets / radius_px) ** 2))


def blur_matrix(profile: Tensor, size: int) -> Tensor:
    """Return the (size, size) matrix that convolves a column with a profile, borders reflected."""
    taps = profile.shape[0]
    places = torch.arange(size, device=profile.device)[:, None]
    places = places + torch.arange(taps, device=profile.device) - taps // 2
    period = 2 * max(size - 1, 1)
    places = places.remainder(period)
    places = torch.minimum(places, period - places).clamp_max(size - 1)
    matrix = profile.new_zeros(size, size)
    return matrix.scatter_add(1, places, profile.expand(size, taps))

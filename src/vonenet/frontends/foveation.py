"""Foveation before V1: an image resampled as the cortex magnifies the visual field.

Cortical magnification falls with eccentricity E as M = M0 / (1 + E / E2) (Horton & Hoyt 1991, Arch
Ophthalmol 109:816, human V1: 17.3 mm/deg / (E + 0.75 deg), so E2 = 0.75 deg). Its integral is the
distance of a point from the fovea in the cortex, here in the image that is given on:

    r = M0 E2 log(1 + E / E2)        E = E2 (exp(r / (M0 E2)) - 1)

M is the magnification along the radius. M0 is such that half the shorter side of an image stays as
long as it was: what is fixated is larger, what is seen at the edge smaller, and the size the same.

V1 behind it sees other pixels per degree at each eccentricity: a filter of f cycles per degree, by
V1's settings, prefers f M cycles per degree of the visual field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.checks import check_is_tensor, real

# Points along the radius that are averaged where the image is made smaller, so that it does not
# alias: enough down to a sixth. Across the radius it is nowhere made smaller inside the circle.
POINTS = 4
# Keeps an exponential finite, far outside any image
FARTHEST = 50.0


@dataclass(frozen=True)
class FoveationConfig:
    """Settings of the foveation.

    Attributes:
        e2_deg: eccentricity at which magnification is half that of the fovea, degrees.
        fixation_deg: fixated point, degrees right of and below the image's centre; it is given on
            in the centre.
    """

    name: ClassVar[str] = "foveation"
    e2_deg: float = 0.75
    fixation_deg: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        vars(self)["e2_deg"] = real("e2_deg", self.e2_deg, 1e-3, 1e6)
        point = self.fixation_deg
        if not isinstance(point, Sequence) or len(point) != 2:
            raise InputError(f"fixation_deg must be two numbers, right and down, got {point!r}")
        vars(self)["fixation_deg"] = tuple(real("fixation_deg", x, -360, 360) for x in point)

    def build(self, in_channels: int, pixels_per_degree: float) -> Foveation:
        """Build the stage for images of this scale, with any number of channels."""
        return Foveation(self, in_channels, pixels_per_degree)


class Foveation(nn.Module):
    """The foveation: images of any kind to images of the same kind and size.

    Args:
        config: settings. Assign other ones to `config` to look elsewhere: they act at the next
            call, and are saved with the model.
        in_channels: channels of the images.
        pixels_per_degree: scale of the images.
    """

    reads = None  # whatever the next stage reads

    def __init__(self, config: FoveationConfig, in_channels: int, pixels_per_degree: float) -> None:
        super().__init__()
        self.config = config
        self.in_channels = self.out_channels = in_channels
        self.pixels_per_degree = pixels_per_degree

    def forward(self, images: Tensor) -> Tensor:
        """Resample images (B, C, H, W); beyond their border it goes on as it is there."""
        return self.respond(self.mean_response(images))

    def mean_response(self, images: Tensor) -> Tensor:
        """Return what `forward` does: there is no noise."""
        scale = self.pixels_per_degree
        right, down = self.config.fixation_deg
        return foveated(images, self.config.e2_deg * scale, right * scale, down * scale)

    def respond(self, mean_response: Tensor) -> Tensor:
        """Return what is given."""
        return mean_response


@torch.fx.wrap
def foveated(images: Tensor, e2_px: float, right_px: float, down_px: float) -> Tensor:
    """Resample images (B, C, H, W) around a point, given in pixels from the centre.

    PyTorch's `grid_sample` has no forward mode and no second derivative.
    """
    check_is_tensor(images)
    dtype = torch.promote_types(images.dtype, torch.float32)
    height, width = images.shape[-2:]
    offsets = (
        torch.arange(n, device=images.device, dtype=dtype) - (n - 1) / 2 for n in (height, width)
    )
    y, x = torch.meshgrid(*offsets, indexing="ij")
    radius = (x * x + y * y).sqrt()  # ONNX has neither hypot nor expm1
    half = min(height, width) / 2
    m0 = half / (e2_px * math.log1p(half / e2_px))
    # 1 / M at r is exp(r / (M0 E2)) / M0; the excess over 1 pixel is averaged over, along the
    # radius, where one pixel of the result is 1 / M pixels of the image.
    excess = (1 - m0 * torch.exp(-radius / (m0 * e2_px))).clamp_min(0)
    means = torch.zeros_like(images, dtype=dtype)
    for step in range(POINTS):
        r = radius + excess * ((step + 0.5) / POINTS - 0.5)
        u = (r / (m0 * e2_px)).clamp_max(FARTHEST)
        eccentricity = e2_px * torch.tanh(u / 2) * (torch.exp(u) + 1)  # e2 (exp(u) - 1)
        # At the fovea itself eccentricity / radius is 1 / M0.
        ratio = torch.where(radius > 0, eccentricity / radius.clamp_min(1e-6), 1 / m0)
        # grid_sample counts from -1 at an image's left border to 1 at its right one.
        grid = torch.stack(
            [(x * ratio + right_px) * (2 / width), (y * ratio + down_px) * (2 / height)], dim=-1
        )
        means = means + F.grid_sample(
            images.to(dtype),
            grid.expand(len(images), -1, -1, -1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
    return (means / POINTS).to(images.dtype)

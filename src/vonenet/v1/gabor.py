"""From Gabor parameters to convolution kernels, and what a pixel grid does to them. Pure functions.

After Dapello, Marques et al. 2020 and the published code:

    g(x, y) = exp(-(x'^2 / sx^2 + y'^2 / sy^2) / 2) / (2 pi sx sy) * cos(2 pi f x' + phase)

with x' = x cos t + y sin t and y' = -x sin t + y cos t in degrees of visual angle, x along the
kernel's rows (its first axis), as in every published VOneNet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.v1.checks import plain, whole
from vonenet.v1.parameters import Array, GaborParameters, IntArray


def gabor_kernels(
    parameters: GaborParameters,
    pixels_per_degree: float,
    kernel_size: int,
    *,
    phase_shift_deg: float = 0.0,
    dc_balanced: bool = False,
) -> Tensor:
    """Sample n Gabor filters on a pixel grid.

    Args:
        parameters: n filters.
        pixels_per_degree: pixels in one degree of visual angle.
        kernel_size: side of the kernels, pixels, odd.
        phase_shift_deg: added to every phase; 90 gives the other half of each quadrature pair.
        dc_balanced: whether to take off each kernel's mean, in the shape of its envelope.

    Returns:
        Kernels, float64, shape (n, kernel_size, kernel_size). The amplitude is that of pixel units:
        a kernel's sum does not depend on `pixels_per_degree`.

    Raises:
        InputError: an even or non-positive kernel size.
    """
    check_kernel_size(kernel_size)
    orientation = _column(np.deg2rad(parameters.orientation_deg))
    phase = _column(np.deg2rad(parameters.phase_deg + phase_shift_deg))
    frequency = _column(parameters.frequency_cpd / pixels_per_degree)  # cycles per pixel
    sigma_x = _column(parameters.sigma_x_deg * pixels_per_degree)
    sigma_y = _column(parameters.sigma_y_deg * pixels_per_degree)

    offsets = torch.arange(kernel_size, dtype=torch.float64, device="cpu") - kernel_size // 2
    x, y = offsets[:, None], offsets[None, :]
    along = x * torch.cos(orientation) + y * torch.sin(orientation)
    across = y * torch.cos(orientation) - x * torch.sin(orientation)
    envelope = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    carrier = torch.cos(2 * math.pi * frequency * along + phase)
    if dc_balanced:
        sums = (envelope * carrier).sum((1, 2), keepdim=True), envelope.sum((1, 2), keepdim=True)
        carrier = carrier - sums[0] / sums[1]
    return envelope * carrier / (2 * math.pi * sigma_x * sigma_y)


def colored(kernels: Tensor, color_channel: IntArray, in_chans: int) -> Tensor:
    """Return dense weights (n, in_chans, k, k): each kernel (n, k, k) in its own colour channel."""
    if not np.isin(color_channel, range(in_chans)).all():
        raise InputError(f"color_channel must be 0 to {in_chans - 1}, got {color_channel.tolist()}")
    weights = kernels.new_zeros(len(kernels), in_chans, *kernels.shape[1:])
    for weight, kernel, color in zip(weights, kernels, color_channel.tolist(), strict=True):
        weight[color] = kernel
    return weights


def quadrature_weights(
    parameters: GaborParameters,
    pixels_per_degree: float,
    kernel_size: int,
    in_chans: int,
    dc_balanced: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return dense weights of both phases of the pairs, (n, in_chans, k, k) each.

    They have torch's default type and stand on its default device.
    """
    q0, q1 = (
        gabor_kernels(
            parameters,
            pixels_per_degree,
            kernel_size,
            phase_shift_deg=shift,
            dc_balanced=dc_balanced,
        )
        for shift in (0.0, 90.0)
    )
    device, dtype = torch.get_default_device(), torch.get_default_dtype()
    return (
        colored(q0, parameters.color_channel, in_chans).to(device, dtype),
        colored(q1, parameters.color_channel_q1, in_chans).to(device, dtype),
    )


def check_kernel_size(kernel_size: Any) -> int:
    """Return a kernel's side as an int, or raise InputError unless it has a central pixel."""
    side = plain(kernel_size)
    if isinstance(side, int) and side % 2 == 0:
        raise InputError(
            f"kernel_size must be an odd number of pixels, so that a filter has a centre; "
            f"got {side}, try {max(side, 0) // 2 * 2 + 1}"
        )
    return whole("kernel_size", side, 1)


@dataclass(frozen=True)
class SamplingReport:
    """What a pixel grid and a kernel window do to a set of Gabor filters.

    Attributes:
        nyquist_cpd: highest frequency that the pixel grid carries, cycles per degree.
        aliased: share of filters above it, in [0, 1].
        truncated: share of filters whose envelope has a standard deviation larger than half the
            kernel, in [0, 1]; 0.06 in the published configuration.
        remedies: one line for each thing that is wrong, empty where nothing is.
    """

    nyquist_cpd: float
    aliased: float
    truncated: float
    remedies: tuple[str, ...]


# The published configuration (224 px, 8 degrees, 25 px kernels) cuts 6 % of its filters; more than
# twice that is reported as a mistake.
TOLERATED_TRUNCATION = 0.12


def sampling_report(
    parameters: GaborParameters, pixels_per_degree: float, kernel_size: int
) -> SamplingReport:
    """Count the filters that alias or are cut by the kernel window, and say what would mend it."""
    nyquist_cpd = pixels_per_degree / 2
    aliased = float(np.mean(parameters.frequency_cpd > nyquist_cpd))
    truncated = float(np.mean(cut_by_window(parameters, pixels_per_degree, kernel_size)))
    remedies = []
    if aliased > 0:
        remedies.append(
            f"{aliased:.0%} of the V1 filters alias: their frequency is above the Nyquist limit of "
            f"{nyquist_cpd:.3g} cycles/degree at {pixels_per_degree:.3g} pixels/degree; set sf_max "
            f"to at most {nyquist_cpd:.3g}, or show fewer visual_degrees"
        )
    if truncated > TOLERATED_TRUNCATION:
        widest_px = _widest_px(parameters, pixels_per_degree)
        fitting = np.quantile(widest_px, 1 - TOLERATED_TRUNCATION, method="higher")
        needed = 2 * math.ceil(fitting) + 1
        remedies.append(
            f"{truncated:.0%} of the V1 filters are wider than half their {kernel_size} px kernel "
            f"and are cut off; set kernel_size to {needed}"
        )
    return SamplingReport(nyquist_cpd, aliased, truncated, tuple(remedies))


def cut_by_window(
    parameters: GaborParameters, pixels_per_degree: float, kernel_size: int
) -> npt.NDArray[np.bool_]:
    """Tell which filters, (n,), have a standard deviation larger than half their kernel.

    Such a filter is another one than its parameters say.
    """
    cut: npt.NDArray[np.bool_] = _widest_px(parameters, pixels_per_degree) > kernel_size // 2
    return cut


def _widest_px(parameters: GaborParameters, pixels_per_degree: float) -> Array:
    widest_deg: Array = np.maximum(parameters.sigma_x_deg, parameters.sigma_y_deg)
    return widest_deg * pixels_per_degree


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))[:, None, None]

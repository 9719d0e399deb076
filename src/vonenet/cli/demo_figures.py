"""Figures of a V1 block for the report: its filters, and its responses to a photograph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vonenet.model import PIXEL_MEAN, PIXEL_STD
from vonenet.report.comparison import Cell, V1Figures
from vonenet.report.pictures import data_address, kernel_map, kernel_mosaic, photo, response_map
from vonenet.v1.block import VOneBlock
from vonenet.v1.gabor import gabor_kernels
from vonenet.v1.noise import noise_generator
from vonenet.v1.parameters import GaborParameters

PHOTO_PX = 448  # over the published 8 degrees: 56 pixels per degree, smooth maps
CREDIT = "Chelsea, by Stéfan van der Walt, CC0 (scikit-image)"
ORIENTATIONS_DEG = (0, 45, 90, 135)


def v1_figures(block: VOneBlock, photograph: Tensor) -> V1Figures:
    """Draw a block's filters, and what the published-size block answers to a photograph.

    Args:
        block: the front-end whose filters are shown.
        photograph: 3, H, W in [0, 1].
    """
    size = (PHOTO_PX, PHOTO_PX)
    image = interpolate(photograph[None], size=size, mode="bicubic", antialias=True).clamp(0, 1)
    viewer = VOneBlock(image_size=PHOTO_PX, visual_degrees=8.0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    with torch.no_grad(), noise_generator(viewer, torch.Generator().manual_seed(0)):
        response = viewer.mean_response((image - mean) / std)
        noisy = viewer.respond(response)[0].numpy()
    return V1Figures(
        filters=data_address(_filters(block)),
        filters_caption=_filters_caption(block),
        photograph=data_address(photo(image[0].numpy())),
        photograph_credit=CREDIT,
        simple=_cells(viewer, response[0].numpy(), noisy, 0, viewer.config.simple_channels),
        complex=_cells(
            viewer, response[0].numpy(), noisy, viewer.config.simple_channels, viewer.out_channels
        ),
    )


def _filters(block: VOneBlock) -> np.ndarray:
    """Up to 128 kernels, low frequencies first."""
    assert block.gabor_parameters is not None
    kernels = _kernels(block)
    order = np.argsort(block.gabor_parameters.frequency_cpd)
    chosen = order[np.linspace(0, len(order) - 1, min(128, len(order))).astype(int)]
    return kernel_mosaic(kernels[chosen], columns=16)


def _filters_caption(block: VOneBlock) -> str:
    c, parameters = block.config, block.gabor_parameters
    assert parameters is not None
    size_px = block.simple_conv_q0.weight.shape[-1]
    low, high = parameters.frequency_cpd.min(), parameters.frequency_cpd.max()
    return (
        f"{min(128, len(parameters))} of the {len(parameters)} Gabor filters of the network above, "
        f"from low to high frequency ({low:.1f} to {high:.1f} cycles per degree), each "
        f"{size_px} px or {size_px / c.pixels_per_degree:.2f} degrees wide. They are "
        "drawn from measurements in monkeys and are never trained."
    )


def _cells(
    block: VOneBlock, mean: np.ndarray, noisy: np.ndarray, first: int, last: int
) -> list[Cell]:
    """One cell for each of four orientations among the channels from `first` to `last`."""
    parameters = block.gabor_parameters
    assert parameters is not None
    kernels = _kernels(block)
    cells = []
    for orientation_deg in ORIENTATIONS_DEG:
        channel = _nearest(parameters, orientation_deg, first, last)
        highest = float(np.quantile(mean[channel], 0.995))
        cells.append(
            Cell(
                caption=f"{parameters.orientation_deg[channel]:.0f}°, "
                f"{parameters.frequency_cpd[channel]:.1f} c/deg",
                kernel=data_address(kernel_map(kernels[channel])),
                mean_response=data_address(response_map(mean[channel], highest)),
                noisy_response=data_address(response_map(noisy[channel], highest)),
            )
        )
    return cells


def _nearest(parameters: GaborParameters, orientation_deg: float, first: int, last: int) -> int:
    """The channel nearest to an orientation and to 2.5 cycles per degree, of a whole envelope."""
    away = np.abs((parameters.orientation_deg - orientation_deg + 90) % 180 - 90) / 15
    octaves = np.abs(np.log2(parameters.frequency_cpd / 2.5))
    blunt = np.abs(np.log2(parameters.nx_cycles / 0.5)) + np.abs(
        np.log2(parameters.ny_cycles / 0.5)
    )
    return first + int(np.argmin((away + octaves + blunt)[first:last]))


def _kernels(block: VOneBlock) -> np.ndarray:
    assert block.gabor_parameters is not None
    size = block.simple_conv_q0.weight.shape[-1]
    return gabor_kernels(block.gabor_parameters, block.config.pixels_per_degree, size).numpy()

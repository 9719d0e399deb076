"""Figures of a V1 block beside an evaluation: its filters, and its responses to a photograph."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.functional import interpolate

from vonenet.data import photograph
from vonenet.files import replace_whole
from vonenet.model import PIXEL_MEAN, PIXEL_STD
from vonenet.report.plots import Array, v1_filters, v1_responses
from vonenet.results import V1_FILTERS, V1_RESPONSES
from vonenet.v1.block import VOneBlock
from vonenet.v1.gabor import gabor_kernels
from vonenet.v1.noise import noise_generator
from vonenet.v1.parameters import GaborParameters

PHOTO_PX = 448  # over the published 8 degrees: 56 pixels per degree, smooth maps
MOST_FILTERS = 128
ORIENTATIONS_DEG = (0, 45, 90, 135)
FREQUENCY_CPD = 2.5
DOTS_PER_INCH = 130  # not more: noise cannot be compressed


def write_v1_figures(block: VOneBlock, folder: Path) -> None:
    """Write the two pictures, unless the block has no Gabor filters or they are there."""
    parameters = block.gabor_parameters
    if parameters is None or (folder / V1_RESPONSES).is_file():
        return
    # Some of the kernels, low frequencies first
    order = np.argsort(parameters.frequency_cpd)
    places = np.linspace(0, len(order) - 1, min(MOST_FILTERS, len(order))).astype(int)
    filters = v1_filters(_kernels(block, parameters)[order[places]])
    for figure, name in ((filters, V1_FILTERS), (_responses(), V1_RESPONSES)):
        write = partial(figure.savefig, format="png", dpi=DOTS_PER_INCH)
        replace_whole(folder / name, write)


def _responses() -> Figure:
    """Draw what a block of the published size answers to a photograph."""
    photo = interpolate(
        photograph("chelsea")[None], size=(PHOTO_PX, PHOTO_PX), mode="bicubic", antialias=True
    ).clamp(0, 1)
    block = VOneBlock(image_size=PHOTO_PX, visual_degrees=8.0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    with torch.no_grad(), noise_generator(block, torch.Generator().manual_seed(0)):
        response = block.mean_response((photo - mean) / std)
        noisy = block.respond(response)[0].numpy()
    parameters = block.gabor_parameters
    assert parameters is not None
    kernels, simple = _kernels(block, parameters), block.config.simple_channels
    # Octaves from the frequency, and from an envelope of half a cycle
    octaves = np.abs(np.log2(parameters.frequency_cpd / FREQUENCY_CPD))
    for width in (parameters.nx_cycles, parameters.ny_cycles):
        octaves = octaves + np.abs(np.log2(width / 0.5))

    def cells(first: int, last: int) -> dict[str, tuple[Array, Array, Array]]:
        found = {}
        for degrees in ORIENTATIONS_DEG:
            away = np.abs((parameters.orientation_deg - degrees + 90) % 180 - 90) / 15
            i = first + int(np.argmin((away + octaves)[first:last]))
            orientation_deg, cpd = parameters.orientation_deg[i], parameters.frequency_cpd[i]
            name = f"{orientation_deg:.0f}°\n{cpd:.1f} c/deg"
            found[name] = (kernels[i], response[0, i].numpy(), noisy[i])
        return found

    kinds = {"simple cells": cells(0, simple), "complex cells": cells(simple, block.out_channels)}
    return v1_responses(photo[0].permute(1, 2, 0).numpy(), kinds)


def _kernels(block: VOneBlock, parameters: GaborParameters) -> Array:
    size = block.filter_weights()[0].shape[-1]
    return gabor_kernels(parameters, block.config.pixels_per_degree, size).numpy()

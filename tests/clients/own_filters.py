"""Filters of one's own: written into the weights, or given as parameters."""

import numpy as np
import torch

from vonenet import GaborParameters, VOneBlock, get_model

GEOMETRY = {"image_size": 64, "visual_degrees": 2.0, "stride": 4}
THETA = np.linspace(0, np.pi, 8, endpoint=False)
SF, SIGMA = 0.125, 4.0  # cycles per pixel, pixels


def gabors(phase):
    side = torch.arange(-12.0, 13.0, dtype=torch.float64)
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    kernels = []
    for theta in THETA:
        along = rows * np.cos(theta) + columns * np.sin(theta)
        envelope = torch.exp(-(rows**2 + columns**2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)
        kernels.append(envelope * torch.cos(2 * np.pi * SF * along + phase))
    return torch.stack(kernels).float()


def old(images):
    block = get_model(
        None, pretrained=False, noise_mode=None, simple_channels=4, complex_channels=4, **GEOMETRY
    )
    for bank, phase in ((block.simple_conv_q0, 0.0), (block.simple_conv_q1, np.pi / 2)):
        weight = torch.zeros_like(bank.weight)
        weight[:, 1] = gabors(phase)  # green
        bank.weight.data = weight
    return {"responses": block(images)}


def new(images):
    cycles = np.full(8, SIGMA * SF)
    green = np.ones(8, dtype=np.int64)
    parameters = GaborParameters(
        orientation_deg=np.rad2deg(THETA),
        frequency_cpd=np.full(8, SF * 32),
        phase_deg=np.zeros(8),
        nx_cycles=cycles,
        ny_cycles=cycles,
        color_channel=green,
        color_channel_q1=green,
    )
    block = VOneBlock(
        gabor_parameters=parameters,
        noise=None,
        simple_channels=4,
        complex_channels=4,
        kernel_size=25,
        **GEOMETRY,
    )
    return {"responses": block(images)}

"""Draws docs/images/vonenet.png: what happens to a photograph on its way through a VOneNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch.nn.functional import interpolate

import vonenet
from vonenet.data import photograph
from vonenet.report.plots import kernel_mosaic
from vonenet.v1.gabor import gabor_kernels

TARGET = Path(__file__).parents[1] / "docs" / "images" / "vonenet.png"
SIZE_PX = 448
INK, ACCENT = "#1c2126", "#c2410c"


def main() -> None:
    """Draw the picture."""
    mpl.rcParams.update({"font.size": 11, "text.color": INK, "font.family": "DejaVu Sans"})
    block = vonenet.VOneBlock(image_size=SIZE_PX, visual_degrees=8.0)
    image = interpolate(photograph("chelsea")[None], size=(SIZE_PX, SIZE_PX), mode="bicubic")
    image = image.clamp(0, 1)
    with torch.no_grad(), vonenet.noise_generator(block, torch.Generator().manual_seed(0)):
        mean = block.mean_response(2 * image - 1)
        noisy = block.respond(mean)

    figure = plt.figure(figsize=(13, 3.7), dpi=110, facecolor="white")
    grid = figure.add_gridspec(
        2,
        5,
        width_ratios=[2, 2, 1, 1, 1.5],
        wspace=0.28,
        hspace=0.12,
        top=0.86,
        bottom=0.05,
        left=0.01,
        right=0.99,
    )
    _show(figure.add_subplot(grid[:, 0]), image[0].permute(1, 2, 0).numpy(), "image")
    signed = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
    _show(figure.add_subplot(grid[:, 1]), _filters(block), "Gabor filters, fixed", **signed)
    channels = {"simple cell": 0, "complex cell": block.config.simple_channels}
    for row, (name, first) in enumerate(channels.items()):
        channel = first + _liveliest(mean[0, first : first + 256].numpy())
        highest = float(np.quantile(mean[0, channel].numpy(), 0.995))
        for column, (responses, title) in enumerate([(mean, "mean"), (noisy, "with noise")]):
            axes = figure.add_subplot(grid[row, 2 + column])
            response, heading = responses[0, channel].numpy(), title if not row else ""
            _show(axes, response, heading, cmap="magma", vmin=0, vmax=highest)
            if column == 0:
                axes.set_ylabel(name)
    _network(figure.add_subplot(grid[:, 4]))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET)
    print(TARGET)


def _show(axes: Axes, pixels: np.ndarray, title: str, **colors: Any) -> None:
    axes.imshow(pixels, **colors)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _filters(block: vonenet.VOneBlock) -> np.ndarray:
    parameters = block.gabor_parameters
    assert parameters is not None
    order = np.argsort(parameters.frequency_cpd)[np.linspace(0, 511, 64).astype(int)]
    kernels = gabor_kernels(parameters, 28.0, 25).numpy()
    return kernel_mosaic(kernels[order], columns=8)


def _liveliest(responses: np.ndarray) -> int:
    """Choose the channel whose map shows most: strong in a few places."""
    return int(np.argmax(responses.std(axis=(1, 2)) / (responses.mean(axis=(1, 2)) + 1)))


def _network(axes: Axes) -> None:
    """Bottleneck and back-end as boxes."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    boxes = [
        (0.72, "1 x 1 bottleneck", "trained"),
        (0.42, "any back-end", "ResNet, CORnet-S, ConvNeXt, ViT ..."),
        (0.12, "class", ""),
    ]
    for y, name, note in boxes:
        axes.text(
            0.5,
            y + 0.06,
            name,
            ha="center",
            va="center",
            fontsize=12,
            color="white",
            bbox={"boxstyle": "round,pad=0.6", "facecolor": ACCENT, "edgecolor": "none"},
        )
        axes.text(0.5, y - 0.06, note, ha="center", va="center", fontsize=9, color="#5b6570")
    for y in (0.62, 0.32):
        axes.annotate(
            "", (0.5, y - 0.06), (0.5, y + 0.01), arrowprops={"arrowstyle": "-|>", "color": INK}
        )


if __name__ == "__main__":
    main()

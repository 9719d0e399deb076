"""Ways to correlate an image with kernels that read one colour each. Pure functions, same numbers.

`images` are (B, in_chans, H, W); `kernels` are (rows, k, k), k odd, sorted by the colour that
they read; `rows_by_channel` says how many read each. The padding is k // 2 zeros, the responses are
(B, rows, ceil(H / stride), ceil(W / stride)), in the kernels' order. All are differentiable with
respect to the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from vonenet.errors import InputError

Strategy: TypeAlias = Callable[[Tensor, Tensor, Sequence[int], int], Tensor]
ImageGradient: TypeAlias = Callable[[Tensor, Sequence[int]], Tensor]


def per_colour(
    images: Tensor, kernels: Tensor, rows_by_channel: Sequence[int], stride: int
) -> Tensor:
    """One strided convolution for each colour."""
    by_channel = [
        F.conv2d(images[:, c : c + 1], rows[:, None], stride=stride, padding=kernels.shape[-1] // 2)
        for c, rows in enumerate(torch.split(kernels, list(rows_by_channel)))
        if len(rows)
    ]
    return by_channel[0] if len(by_channel) == 1 else torch.cat(by_channel, dim=1)


def space_to_depth(
    images: Tensor, kernels: Tensor, rows_by_channel: Sequence[int], stride: int
) -> Tensor:
    """One grouped convolution at stride 1, each of the stride^2 pixel phases being a channel.

    Many channels and small kernels are what GPUs are good at.
    """
    height, width = (-(-size // stride) for size in images.shape[-2:])
    before = kernels.shape[-1] // 2
    small = -(-kernels.shape[-1] // stride)  # side of the kernels among the phases
    after_y, after_x = (
        stride * (out + small - 1) - before - size
        for out, size in zip((height, width), images.shape[-2:], strict=True)
    )
    phases = F.pixel_unshuffle(F.pad(images, (before, after_x, before, after_y)), stride)
    most = max(rows_by_channel)
    groups = [
        F.pad(phase_kernels(rows, stride), (0, 0, 0, 0, 0, 0, 0, most - len(rows)))
        for rows in torch.split(kernels, list(rows_by_channel))
    ]
    responses = F.conv2d(phases, torch.cat(groups), groups=images.shape[1])
    if min(rows_by_channel) == most:
        return responses
    kept = [
        responses[:, c * most : c * most + rows] for c, rows in enumerate(rows_by_channel) if rows
    ]
    return torch.cat(kept, dim=1)


def phase_kernels(kernels: Tensor, stride: int) -> Tensor:
    """(rows, k, k) kernels as (rows, stride^2, ceil(k / stride), ceil(k / stride))."""
    missing = -kernels.shape[-1] % stride
    return F.pixel_unshuffle(F.pad(kernels, (0, missing, 0, missing))[:, None], stride)


def image_gradient(kernels: Tensor, stride: int) -> ImageGradient:
    """How to get the gradient with respect to one colour channel from that of its responses.

    Args:
        kernels: (rows, k, k), all that read the channel.
        stride: that of the responses.

    Returns:
        A function of the gradient with respect to the responses, (B, rows, H', W'), and of the
        image's size (H, W), which gives (B, 1, H, W).
    """
    way = _by_phases if phases_are_faster(kernels.shape[-1], stride) else _by_library
    return way(kernels, stride)


def phases_are_faster(kernel_size: int, stride: int) -> bool:
    """Measured on 2 cores (AMD Zen 5, torch 2.15), kernels of 9 to 51 px, strides 1 to 8.

    At 224 px, kernel 25, stride 4 the phases take two thirds of the library's time, at 32 px a
    third; at 64 px, kernel 29, stride 2 ten times as long.
    """
    return stride == 4 or kernel_size <= 10 * stride


def _by_library(kernels: Tensor, stride: int) -> ImageGradient:
    def gradient(of_responses: Tensor, image_size: Sequence[int]) -> Tensor:
        shape = (len(of_responses), 1, *image_size)
        padding = kernels.shape[-1] // 2
        result: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            shape, kernels[:, None], of_responses, stride=stride, padding=padding
        )
        return result

    return gradient


def _by_phases(kernels: Tensor, stride: int) -> ImageGradient:
    """A convolution at stride 1 with the kernels' phases turned round, input for output."""
    turned = phase_kernels(kernels, stride).flip(2, 3).transpose(0, 1)
    before, small = kernels.shape[-1] // 2, turned.shape[-1]
    first = before // stride  # the phase pixel that holds the image's first row
    top = small - 1 - first

    def gradient(of_responses: Tensor, image_size: Sequence[int]) -> Tensor:
        bottoms = [
            (before + size - 1) // stride - first + 1 - (responses + top - small + 1)
            for size, responses in zip(image_size, of_responses.shape[-2:], strict=True)
        ]
        padding = max(top, *bottoms)
        pixels = F.pixel_shuffle(F.conv2d(of_responses, turned, padding=padding), stride)
        start = before - stride * (first - (padding - top))
        height, width = image_size
        return pixels[..., start : start + height, start : start + width]

    return gradient


STRATEGIES: Mapping[str, Strategy] = {"per_colour": per_colour, "space_to_depth": space_to_depth}


def default_strategy(device: torch.device) -> str:
    """The name of the fastest strategy for a device.

    CPU: measured (docs/performance.md). CUDA: not yet measured; chosen because tensor cores need
    channels, which a convolution of one colour does not have.
    """
    return "space_to_depth" if device.type == "cuda" else "per_colour"


def check_strategy(name: str) -> None:
    """Raise InputError unless there is such a strategy."""
    if name != "auto" and name not in STRATEGIES:
        raise InputError(f"strategy must be one of auto, {', '.join(STRATEGIES)}, got {name!r}")

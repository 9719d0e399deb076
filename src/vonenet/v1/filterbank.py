"""The linear stage of V1: fixed kernels, applied to images in the fastest way that is at hand.

A published filter bank is stored as dense convolutions of which two colours in three are zeros.
Every way gives the numbers of `F.conv2d` on these weights, and looks at the weights at each call:
what is computed with cannot differ from the state dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1 import fourier
from vonenet.v1.attributes import Answering
from vonenet.v1.noise import is_plain

# Smaller weights are computed with as 0. The tails of the Gaussians reach below 1e-38, where
# numbers are subnormal and some processors (Intel's) a hundred times slower; a product with a pixel
# is a normal number from here on. The largest weight of a filter is 1e-4 to 1e-1.
SMALLEST_WEIGHT = 1e-20


class FilterBank(Answering):
    """One phase of all filters: a convolution with fixed weights.

    Args:
        weight: dense weights of all cells, (cells, C, k, k), k odd. A buffer, saved under its
            published name, which no optimizer sees. If it is made to require a gradient, it gets
            one. None: weights that are trained, which the block has, and applies.
        stride: distance between responses, pixels.
        first: the responses begin with this cell; those of the cells before are never used.
    """

    weight: Tensor
    stride: int
    first: int
    settable: ClassVar = ("weight",)
    instead: ClassVar = {
        "stride": "VOneBlock(block.config, stride={value})",
        "kernel_size": "VOneBlock(block.config, kernel_size={value})",
        "first": "VOneBlock(block.config, simple_channels={value})",
    }

    def __init__(self, weight: Tensor | None, stride: int, first: int = 0) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        vars(self).update(stride=stride, first=first)

    def forward(self, images: Tensor, responses: Tensor | None = None) -> Tensor:
        """Return responses (B, cells - first, ceil(H / stride), ceil(W / stride)).

        Args:
            images: B, C, H, W.
            responses: what it would give, if it was computed already, together with another phase.
        """
        if responses is None and self.weight is None:
            raise InputError("these filters are trained: their block alone can apply them")
        if responses is None:
            n, weight = len(self.weight), self.weight
            responses, _ = filter_images(images, weight, weight, self.stride, n)
            responses = responses[:, self.first :]
        return responses


@torch.fx.wrap
def filter_images(
    images: Tensor,
    weight_q0: Tensor,
    weight_q1: Tensor,
    stride: int,
    first: int,
    way: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return responses in phase 0 of all cells, and in phase 90 of those from `first` on.

    Raises:
        InputError: a way that does not exist.
    """
    way = way or fastest_way(images, weight_q0, weight_q1, stride)
    if way == "fourier":  # spectra, which both phases share, in single precision or better
        if torch.is_autocast_enabled("cpu"):
            images = images.to(torch.get_autocast_dtype("cpu"))
        both: Tensor = fourier.Correlate.apply(images, weight_q0, weight_q1, stride, first)
        q0, q1 = torch.split(both, [len(weight_q0), len(weight_q1) - first], dim=1)
        return q0, q1
    if way not in WAYS:
        raise InputError(f"way must be None, fourier, {' or '.join(WAYS)}, got {way!r}")
    convolve = WAYS[way]
    q0 = convolve(images, weight_q0, stride)
    # PyTorch refuses to convolve with no kernel.
    none = first == len(weight_q1)
    return q0, q0[:, :0] if none else convolve(images, weight_q1[first:], stride)


def fastest_way(images: Tensor, weight_q0: Tensor, weight_q1: Tensor, stride: int) -> str:
    """Choose the way that measured fastest for images of this size on this device.

    On the CPU (docs/performance.md) Fourier transforms, where they save half the multiplications
    and more; but operations that are recorded, to be compiled or to leave PyTorch, and weights that
    are trained need the plain convolution. On CUDA, not measured yet, the way with many channels,
    which tensor cores need.
    """
    if images.device.type == "cuda":
        return "space_to_depth"
    if images.device.type != "cpu" or is_plain():
        return "convolution"
    # Trained, or an argument of a transform of torch.func
    if any(w.requires_grad or is_functorch_wrapped_tensor(w) for w in (weight_q0, weight_q1)):
        return "convolution"
    if images.requires_grad and (weight_q0.is_inference() or weight_q1.is_inference()):
        return "convolution"  # for autograd cannot keep tensors made in inference mode
    if images.dtype != weight_q0.dtype and not torch.is_autocast_enabled("cpu"):
        return "convolution"  # which names both types in its error
    return "fourier" if fourier.is_cheaper(images, weight_q0.shape[-1], stride) else "convolution"


def convolution(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve as defined: densely, with k // 2 zeros around the images."""
    return F.conv2d(images, without_tails(weight), stride=stride, padding=weight.shape[-1] // 2)


def space_to_depth(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve at stride 1, with the stride^2 pixel phases of each colour as channels."""
    before, taps = weight.shape[-1] // 2, -(-weight.shape[-1] // stride)
    seen = [stride * (-(-side // stride) + taps - 1) for side in images.shape[-2:]]
    missing = stride * taps - weight.shape[-1]
    phases = F.pixel_unshuffle(fourier.framed(images, before, seen), stride)
    kernels = F.pad(without_tails(weight), (0, missing, 0, missing))
    return F.conv2d(phases, F.pixel_unshuffle(kernels, stride))


def without_tails(weight: Tensor) -> Tensor:
    """Set weights to 0 that are too small to matter and slow to compute with."""
    return weight.masked_fill(weight.abs() < SMALLEST_WEIGHT, 0)


WAYS: Mapping[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "convolution": convolution,
    "space_to_depth": space_to_depth,
}

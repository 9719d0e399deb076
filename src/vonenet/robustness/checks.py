"""Whether a model can be measured on a data set, with these numbers: refusals of one line."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from vonenet.data.dataset import ImageDataset, check_pixels
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError, VOneNetWarning

IMAGES = 4


def check_counts(**counts: int) -> None:
    """Refuses counts below 1.

    Raises:
        InputError: Naming the first of them.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}={count} is too few; at least 1")


def first_pixels(dataset: ImageDataset) -> Tensor:
    """The first few images, (B, C, H, W).

    Raises:
        InputError: an image is not finite pixels in [0, 1].
    """
    images = [dataset[index][0] for index in range(min(IMAGES, len(dataset)))]
    pixels = torch.stack(images)
    check_pixels(pixels)
    return pixels


@torch.no_grad()
def check_model(model: nn.Module, dataset: ImageDataset, seed: int = 0) -> None:
    """Show the model a few images.

    Args:
        model: takes pixels; in eval mode.
        dataset: what it is to be measured on.
        seed: of the model's noise.

    Raises:
        InputError: the model does not return one row of finite logits for each image, has fewer
            classes than the data, or returns probabilities.

    Warns:
        VOneNetWarning: the model has more classes than the data.
    """
    pixels, device = first_pixels(dataset), device_of(model)
    with seeded(seed, device):
        logits = model(pixels.to(device))
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise InputError(f"the model returns a {kind}; needed: one tensor of logits (B, classes)")
    if logits.ndim != 2 or len(logits) != len(pixels):
        raise InputError(
            f"the model returns shape {tuple(logits.shape)} for {len(pixels)} images; needed: "
            f"({len(pixels)}, classes)"
        )
    if not logits.isfinite().all():
        raise InputError("the model's logits are not finite on clean images")
    if _are_probabilities(logits):
        raise InputError(
            "the model returns probabilities (rows sum to 1); needed: logits, before the softmax, "
            "which hides gradients from attacks"
        )
    outputs, classes = logits.shape[1], len(dataset.classes)
    if outputs < classes:
        raise InputError(f"the model has {outputs} outputs; {dataset.name!r} has {classes} classes")
    if outputs > classes:
        message = (
            f"the model has {outputs} outputs and {dataset.name!r} {classes} classes, which are "
            "taken to be the first ones"
        )
        warnings.warn(message, VOneNetWarning, stacklevel=2)


def _are_probabilities(logits: Tensor) -> bool:
    sums = logits.double().sum(dim=1)
    return bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)

"""Mixup and CutMix by timm, on a batch of any size, from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from timm.data.mixup import Mixup
from torch import Tensor

from vonenet.data.seeding import item_seeded
from vonenet.training.recipe import AugmentationRecipe

Mix: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def mixed(
    pixels: Tensor,
    labels: Tensor,
    recipe: AugmentationRecipe,
    num_classes: int,
    label_smoothing: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Mixes each image with its mirror place in the batch, all by one share drawn for the batch.

    With both on, each batch gets mixup (Zhang et al. 2018, arXiv:1710.09412) or CutMix (Yun et al.
    2019, arXiv:1905.04899), one as often as the other. In a batch of odd size one image stays as
    it is.

    Args:
        pixels: (B, C, H, W) in [0, 1]; left as they are.
        labels: (B,) class indices.
        recipe: Its `mixup` and `cutmix`; without either nothing is done.
        num_classes: K.
        label_smoothing: Share of mixed targets that is spread over all classes. Of class indices it
            is the loss's business.
        seed: Of the batch.

    Returns:
        Pixels (B, C, H, W) in [0, 1]; and the labels, or, if anything is on, targets (B, K).
    """
    if not (recipe.mixup or recipe.cutmix):
        return pixels, labels
    mix: Mix = Mixup(  # type: ignore[no-untyped-call]
        recipe.mixup, recipe.cutmix, num_classes=num_classes, label_smoothing=label_smoothing
    )
    count = len(pixels)
    # timm wants an even number. The first image's mirror place is then its own copy.
    batch = torch.cat([pixels, pixels[:1]]) if count % 2 else pixels.clone()
    with item_seeded(seed, 0, 0):
        batch, targets = mix(batch, torch.cat([labels, labels[:1]]) if count % 2 else labels)
    return batch[:count], targets[:count]

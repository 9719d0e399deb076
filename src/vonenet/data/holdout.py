"""Keeps a share of a data set that has no parts of its own for validation."""

from __future__ import annotations

import re

import torch

from vonenet.data.dataset import ImageDataset
from vonenet.errors import InputError

SEED = 0  # of the choice, which is the same in every run


def share_of(split: str) -> float | None:
    """The share that a split such as "10%" names; None for the name of a part.

    Raises:
        InputError: If it is not above 0 and below 100 %.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", split)
    if found is None:
        return None
    try:
        share = float(found[1]) / 100
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InputError(f"split {split!r} is no share; allowed: above 0 %, below 100 %")
    return share


def held_out(dataset: ImageDataset, share: float) -> tuple[ImageDataset, ImageDataset]:
    """The images without a share of every class, and that share: at least one image of each.

    Raises:
        InputError: If a class has fewer than two images.
    """
    generator = torch.Generator().manual_seed(SEED)
    kept_out = []
    for label, name in enumerate(dataset.classes):
        members = (dataset.labels == label).nonzero().flatten()
        if len(members) == 1:
            raise InputError(
                f"class {name!r} of {dataset.name!r} has one image; needed: two or more, one of "
                "them for validation"
            )
        count = max(1, round(share * len(members))) if len(members) else 0
        kept_out.append(members[torch.randperm(len(members), generator=generator)[:count]])
    mask = torch.zeros(len(dataset), dtype=torch.bool)
    mask[torch.cat(kept_out)] = True
    training, validation = (dataset.select(m.nonzero().flatten()) for m in (~mask, mask))
    validation.name += f" {100 * share:g}% held out"
    return training, validation

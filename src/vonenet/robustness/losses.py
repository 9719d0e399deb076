"""What an attack maximises: one number per image from logits, larger where the model is more wrong.

Every loss takes logits (B, K), labels (B,) and targets: (B,) classes to reach, or None to get away
from the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from vonenet.errors import InputError

Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of the labels; with targets, minus theirs."""
    if targets is None:
        return F.cross_entropy(logits, labels, reduction="none")
    return -F.cross_entropy(logits, targets, reduction="none")


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the difference of logits ratio (Croce & Hein 2020, arXiv:2003.01690, eq. 6 and 7).

    Unlike cross-entropy it does not change when logits are scaled or shifted, so a model cannot
    hide behind saturated ones. Positive where the decision is wrong.

    Raises:
        InputError: With fewer than 3 classes; 4 with targets.
    """
    needed = 3 if targets is None else 4
    if logits.shape[1] < needed:
        raise InputError(f"the DLR loss needs {needed} or more classes; got {logits.shape[1]}")
    top = logits.topk(needed, dim=1).values
    tiny = torch.finfo(logits.dtype).tiny
    if targets is None:
        return margin_loss(logits, labels) / (top[:, 0] - top[:, 2]).clamp(min=tiny)
    gain = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]
    return gain / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp(min=tiny)


def margin_loss(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return by how much the best other class exceeds the label; positive where it is wrong.

    With targets, by how much the target exceeds the best other class; positive where it is reached.
    """
    classes = labels if targets is None else targets
    own = logits.gather(1, classes[:, None])[:, 0]
    others = logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)
    return others - own if targets is None else own - others


LOSSES: Mapping[str, Loss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin_loss}

"""What an attack climbs: one number per image from logits, larger where the model is more wrong.

Every loss takes logits (B, K) and goals: (B,) true classes to get away from, or (B, 2) true classes
beside wanted ones to get to.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from vonenet.errors import InputError

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, goals: Tensor) -> Tensor:
    """Cross-entropy of the true class; for a wanted class, minus its cross-entropy."""
    if goals.ndim == 1:
        return torch_cross_entropy(logits, goals, reduction="none")
    return -torch_cross_entropy(logits, goals[:, 1], reduction="none")


def dlr(logits: Tensor, goals: Tensor) -> Tensor:
    """Difference of logits ratio (Croce & Hein 2020, arXiv:2003.01690, equations 6 and 7).

    Unlike cross-entropy it does not change when logits are scaled or shifted, so a model cannot
    hide behind saturated ones. Positive where the decision is wrong.

    Raises:
        InputError: With fewer than 3 classes; 4 for wanted classes.
    """
    needed = 3 if goals.ndim == 1 else 4
    if logits.shape[1] < needed:
        raise InputError(f"the DLR loss needs {needed} or more classes; got {logits.shape[1]}")
    top = logits.topk(needed, dim=1).values
    tiny = torch.finfo(logits.dtype).tiny
    if goals.ndim == 1:
        return -lead(logits, goals) / (top[:, 0] - top[:, 2]).clamp(min=tiny)
    true, wanted = logits.gather(1, goals).unbind(dim=1)
    return (wanted - true) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp(min=tiny)


def margin(logits: Tensor, goals: Tensor) -> Tensor:
    """How far the decision is on the attacker's side: positive where the attack has succeeded."""
    return -lead(logits, goals) if goals.ndim == 1 else lead(logits, goals[:, 1])


def lead(scores: Tensor, classes: Tensor) -> Tensor:
    """Score of one class above the best of all others, (B,); negative where it is not the best."""
    own = scores.gather(1, classes[:, None])
    others = scores.scatter(1, classes[:, None], -torch.inf)
    return own[:, 0] - others.amax(dim=1)


LOSSES: Mapping[str, Loss] = {"ce": cross_entropy, "dlr": dlr, "margin": margin}

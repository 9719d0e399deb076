"""The most damaging of several attacks, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def best_of(
    attempts: Sequence[Callable[[Tensor], Tensor]],
    judge: Callable[[Tensor, Tensor], Tensor],
    count: int,
    *,
    standing_only: bool,
) -> Tensor:
    """The most damaging of several attacks, image by image.

    Args:
        attempts: (mask of the images to attack) -> adversarial images, one for each of them.
        judge: (adversarial images, mask) -> margins, negative where the attack has succeeded.
        count: Number of images.
        standing_only: Attack only images that no attempt has broken so far.
    """
    chosen = torch.ones(count, dtype=torch.bool)
    best = attempts[0](chosen)
    if len(attempts) == 1:
        return best
    margins = judge(best, chosen)
    for attempt in attempts[1:]:
        if standing_only:
            chosen = (margins >= 0).cpu()
        if not chosen.any():
            break
        found = attempt(chosen)
        found_margins = judge(found, chosen)
        better = found_margins < margins[chosen]
        best[chosen] = torch.where(better.view(-1, 1, 1, 1), found, best[chosen])
        margins[chosen] = torch.where(better, found_margins, margins[chosen])
    return best

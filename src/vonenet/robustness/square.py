"""Square: random search with squares, no gradient (Andriushchenko et al. 2020, arXiv:1912.00049).

Each proposal changes one random square of an image and is kept if the loss rises. Squares shrink as
the search goes on. For L-inf a square's channels each move to an end of the ball, as in the paper.
For L2 and L1 a square is redrawn with the budget that is free plus what a second square and itself
give back; this is the paper's scheme with flat squares. (pyautoattack's own search fails for L2 and
L1 on rectangles and below 25 px, and stops where a stochastic model is still often right.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.robustness.attacks import check_counts, each, most_damaging
from vonenet.robustness.norms import Region, length
from vonenet.robustness.sampling import Objective

# Share of the image that a square covers at first, halved at these shares of all queries
# (section 4 of the paper: after 10, 50, 200, ... of 10,000 queries).
FIRST_SHARE = 0.8
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    queries: int = 1000,
    decision_samples: int = 10,
    **options: Any,
) -> Tensor:
    """Attack by random search, which no masked gradient can mislead.

    There are `queries` proposals per image, of which the best is returned. Other arguments, options
    and errors are those of `vonenet.robustness.pgd`; the loss is the decision's margin unless
    another is named. With more than one of `decision_samples`, the noise draws per query, give
    `draws_seed` too: among fresh draws a search keeps the luckiest proposal, not the best.
    """
    check_counts(queries=queries)
    region = Region(norm, epsilon)
    proposals = Proposals(region, options.get("generator"))

    def run(objective: Objective, images: Tensor, _: Tensor) -> Tensor:
        best, proposal = images, proposals.stripes(images)
        best_loss = torch.full_like(images[:, 0, 0, 0], -torch.inf)
        standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
        for query in range(queries):
            estimate = objective.estimate(proposal, standing, gradient=False)
            left = objective.still_standing(proposal, estimate, standing)
            better = (estimate.loss > best_loss) | (standing & ~left)
            best = torch.where(each(better), proposal, best)
            best_loss = torch.where(better, estimate.loss, best_loss)
            standing = left
            if objective.stop_samples is not None and not standing.any():
                break
            proposal = proposals.next(images, best, side_of_square(images, query / queries))
        return best

    options = {"loss": "margin", **options}
    return most_damaging(run, region, model, images, labels, decision_samples, **options)


def side_of_square(images: Tensor, progress: float) -> int:
    """Return the side of a proposal's square, in pixels, after a share of all queries."""
    height, width = images.shape[-2:]
    halvings = sum(progress > share for share in HALVINGS)
    side = round(sqrt(FIRST_SHARE * 0.5**halvings * height * width))
    return min(max(side, 1), height, width)


@dataclass
class Proposals:
    """Random changes of images, inside a region; the generator is torch's global one if None."""

    region: Region
    generator: torch.Generator | None = None

    def stripes(self, images: Tensor) -> Tensor:
        """Return the first proposal: vertical stripes of random sign, as long as allowed."""
        batch, channels, _, width = images.shape
        stripes = self._signs(batch, channels, 1, width).to(images).expand_as(images)
        reach = self.region.epsilon / length(stripes, self.region.norm)
        return self.region.moved(images, reach * stripes)

    def next(self, images: Tensor, best: Tensor, side: int) -> Tensor:
        """Return the best proposals with a random square of each changed."""
        change = best - images
        inside = self._squares(images, side)
        signs = self._signs(*change.shape[:2], 1, 1).to(change)
        if self.region.norm == "linf":
            corners = self.region.epsilon * signs
            return self.region.moved(images, torch.where(inside, corners, change))
        rest = change.masked_fill(inside | self._squares(images, side), 0)
        power = 2 if self.region.norm == "l2" else 1
        taken = length(rest, self.region.norm) ** power
        free = (self.region.epsilon**power - taken).clamp(min=0) ** (1 / power)
        bump = signs * inside
        return self.region.moved(images, rest + free / length(bump, self.region.norm) * bump)

    def _squares(self, images: Tensor, side: int) -> Tensor:
        """Choose a random square in each image: a mask (B, 1, H, W)."""
        stretches = []
        for pixels in images.shape[-2:]:
            draws = torch.rand(len(images), 1, generator=self.generator)
            after = torch.arange(pixels) - (draws * (pixels - side + 1)).long()
            stretches.append(((after >= 0) & (after < side)).to(images.device))
        rows, columns = stretches
        return rows[:, None, :, None] & columns[:, None, None, :]

    def _signs(self, *shape: int) -> Tensor:
        return 2.0 * torch.randint(2, shape, generator=self.generator) - 1

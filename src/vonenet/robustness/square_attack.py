"""Square: random search with squares, no gradient (Andriushchenko et al. 2020, arXiv:1912.00049).

Each proposal changes one random square of an image and is kept if the loss rises. Squares shrink as
the search goes on. For L-inf a square's channels each move to an end of the ball, as in the paper.
For L2 and L1 a square is redrawn with the budget that is free plus what a second square and itself
give back; this is the paper's scheme with flat squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vonenet.robustness.loop import State
from vonenet.robustness.norms import Region
from vonenet.robustness.sampling import Estimate

# Share of the image that a square covers at first, halved at these shares of all queries
# (section 4 of the paper: after 10, 50, 200, ... of 10,000 queries).
FIRST_SHARE = 0.8
HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass
class SquareState(State):
    """Images under Square; `adversarial` is the proposal.

    Attributes:
        best: (B, C, H, W), the proposal of the highest loss.
        best_loss: (B,).
    """

    best: Tensor
    best_loss: Tensor


@dataclass(frozen=True)
class Square:
    """Random search with squares.

    Attributes:
        region: Where the proposals stay.
        evaluations: Queries per image.
        generator: Source of the proposals, on the CPU; torch's global one if None.
    """

    region: Region
    evaluations: int
    generator: torch.Generator | None = None

    def start(self, index: Tensor, images: Tensor, goals: Tensor) -> SquareState:
        """The images, with stripes as the first proposal."""
        lowest = images.new_full((len(images),), -torch.inf)
        taken = torch.zeros_like(index)
        return SquareState(index, taken, images, goals, self._stripes(images), images, lowest)

    def step(self, state: SquareState, estimate: Estimate) -> None:
        """Keeps the proposal where it is better, and makes the next."""
        higher = estimate.loss > state.best_loss
        state.best = torch.where(higher.view(-1, 1, 1, 1), state.adversarial, state.best)
        state.best_loss = torch.where(higher, estimate.loss, state.best_loss)
        state.adversarial = self._propose(state)

    def result(self, state: SquareState) -> Tensor:
        """The best proposal."""
        return state.best

    def _stripes(self, images: Tensor) -> Tensor:
        """Vertical stripes, one pixel wide, of random sign in every channel; as long as allowed."""
        batch, channels, _, width = images.shape
        stripes = self._signs(batch, channels, 1, width).to(images).expand_as(images)
        reach = self.region.epsilon / self.region.ball.length(stripes)
        return self.region.moved(images, reach * stripes)

    def _propose(self, state: SquareState) -> Tensor:
        change = state.best - state.images
        inside = self._squares(state)
        signs = self._signs(*change.shape[:2], 1, 1).to(change)
        if self.region.norm == "linf":
            return self.region.moved(
                state.images, torch.where(inside, self.region.epsilon * signs, change)
            )
        given_back = inside | self._squares(state)
        rest = change.masked_fill(given_back, 0)
        bump = signs * inside
        free = self._free(rest) / self.region.ball.length(bump)
        return self.region.moved(state.images, rest + free * bump)

    def _free(self, change: Tensor) -> Tensor:
        """What the radius leaves for values that the change does not touch, (B, 1, 1, 1)."""
        power = 2 if self.region.norm == "l2" else 1
        length = self.region.ball.length(change)
        return (self.region.epsilon**power - length**power).clamp(min=0) ** (1 / power)

    def _squares(self, state: SquareState) -> Tensor:
        """A random square in each image: a mask (B, 1, H, W)."""
        height, width = state.images.shape[-2:]
        done = state.taken / self.evaluations
        halvings = (done[:, None] > torch.tensor(HALVINGS)).sum(dim=1)
        area = FIRST_SHARE * 0.5**halvings * height * width
        side = area.sqrt().round().long().clamp(1, min(height, width))
        rows = self._stretch(height, side).to(state.images.device)
        columns = self._stretch(width, side).to(state.images.device)
        return rows[:, None, :, None] & columns[:, None, None, :]

    def _stretch(self, length: int, side: Tensor) -> Tensor:
        """A random stretch of each row of pixels: a mask (B, length)."""
        places = length - side + 1
        first = (torch.rand(len(side), generator=self.generator) * places).long()[:, None]
        pixel = torch.arange(length)
        return (pixel >= first) & (pixel < first + side[:, None])

    def _signs(self, *shape: int) -> Tensor:
        return 2.0 * torch.randint(2, shape, generator=self.generator) - 1

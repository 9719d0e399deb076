"""PGD: a step along the gradient, and back into the region (Madry et al., arXiv:1706.06083)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vonenet.robustness.loop import Start, State
from vonenet.robustness.norms import Region
from vonenet.robustness.sampling import Estimate


@dataclass
class PGDState(State):
    """Images under PGD.

    Attributes:
        velocity: (B, C, H, W), accumulated direction; without momentum (B, 0, H, W).
    """

    velocity: Tensor


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent: a step along the gradient, and back into the region.

    Attributes:
        region: Where the iterates stay.
        evaluations: Steps.
        step_size: Length of a step in the norm.
        momentum: Share of earlier directions that is kept.
        begin: (images) -> where the attack starts.
    """

    region: Region
    evaluations: int
    step_size: float
    momentum: float
    begin: Start

    def start(self, index: Tensor, images: Tensor, goals: Tensor) -> PGDState:
        """Images that nothing has been done to."""
        velocity = torch.zeros_like(images if self.momentum else images[:, :0])
        taken = torch.zeros_like(index)
        return PGDState(index, taken, images, goals, self.begin(images), velocity)

    def step(self, state: PGDState, estimate: Estimate) -> None:
        """Moves every image; a gradient that is not a number moves nothing."""
        gradient = estimate.gradient.nan_to_num_(nan=0.0)
        if self.momentum:
            size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
            gradient = gradient / size.clamp(min=torch.finfo(size.dtype).tiny)
            gradient = state.velocity.mul_(self.momentum).add_(gradient)
        step = self.region.ball.step(gradient, state.adversarial, self.step_size)
        state.adversarial = self.region.moved(state.images, state.adversarial - state.images + step)

    def result(self, state: PGDState) -> Tensor:
        """The last iterate, as in the VOneNet paper."""
        return state.adversarial

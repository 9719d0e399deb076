"""APGD: PGD that chooses its own step size (Croce & Hein 2020, arXiv:2003.01690).

It starts with long steps and shortens them where the loss stops rising, each image's by itself,
and then goes on from the best point so far. For L1, where it is the number of changed values that
has to be found, see Croce & Hein 2021 (arXiv:2103.01208). For stochastic models losses and
gradients are averages over noise draws.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.robustness.attacks import check_counts, each, most_damaging
from vonenet.robustness.norms import STEPS, Region, steepest_few
from vonenet.robustness.sampling import Estimate, Objective

# Section 3 of the 2020 paper: step of 2 epsilon, momentum, share of rising steps that is enough.
FIRST_STEP, MOMENTUM, RISING_SHARE = 2.0, 0.75, 0.75
# Checkpoints, in shares of the steps: the first, by how much intervals shrink, the shortest one.
FIRST_CHECKPOINT, SHRINKAGE, SHORTEST = 0.22, 0.03, 0.06
# Section 4 of the 2021 paper: share of values changed at first, divisors of support and step,
# shortest step in epsilon, share of the support below which it counts as shrunk, checkpoints.
FIRST_SUPPORT, SUPPORT_DIVISOR, STEP_DIVISOR = 0.2, 1.5, 1.5
SHORTEST_SPARSE_STEP, SHRUNK_SUPPORT, SPARSE_CHECKPOINT = 0.1, 0.95, 0.04


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 100,
    gradient_samples: int = 10,
    random_start: bool = True,
    **options: Any,
) -> Tensor:
    """Attack by APGD, which has no step size to choose. With `loss="dlr"` it is APGD-DLR.

    Arguments and errors are those of `vonenet.robustness.pgd`. There are `steps` + 1 gradients.

    Returns:
        The iterate with the most wrong decision, averaged over the gradient's own draws,
        (B, C, H, W). It need not be that of the highest loss: the highest cross-entropy may belong
        to a decision that is still right.
    """
    check_counts(steps=steps)
    region = Region(norm, epsilon)
    method = SparseAPGD if norm == "l1" else APGD

    def run(objective: Objective, images: Tensor, start: Tensor) -> Tensor:
        state = method(region, steps, images, start)
        standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
        for step in range(steps + 1):
            estimate = objective.estimate(state.adversarial, standing)
            left = objective.still_standing(state.adversarial, estimate, standing)
            state.remember(estimate, broken=standing & ~left)
            standing = left
            if objective.stop_samples is not None and not standing.any():
                break
            state.adapt(step)
            state.move(step)
        return state.found

    return most_damaging(
        run, region, model, images, labels, gradient_samples, random_start, **options
    )


def checkpoints(steps: int) -> dict[int, int]:
    """Return the steps after which step sizes are adapted, and how far back each one looks."""
    windows = {}
    share, interval, last = FIRST_CHECKPOINT, FIRST_CHECKPOINT, 0
    while ceil(share * steps) <= steps:
        at = ceil(share * steps)
        windows[at], last = at - last, at
        interval = max(interval - SHRINKAGE, SHORTEST)
        share += interval
    return {at: window for at, window in windows.items() if window}


class APGD:
    """Images under APGD for L-inf and L2, inside a region, for so many steps from a start."""

    def __init__(self, region: Region, steps: int, images: Tensor, start: Tensor) -> None:
        self.region, self.steps, self.images = region, steps, images
        self.checkpoints = checkpoints(steps)
        # The iterate, the one before, that of the highest loss and that of the most wrong decision,
        # which is returned; then the gradients at the first and at the third of these
        self.adversarial = self.previous = self.best = self.found = start
        self.gradient = self.best_gradient = torch.zeros_like(images)
        zeros = torch.zeros_like(images[:, 0, 0, 0])
        self.best_loss = self.checked_loss = torch.full_like(zeros, -torch.inf)
        self.last_loss = torch.full_like(zeros, torch.inf)  # the first loss is no rise
        self.found_margin = torch.full_like(zeros, torch.inf)
        self.step_size = each(torch.full_like(zeros, FIRST_STEP * region.epsilon))
        # Since the last checkpoint: steps that raised the loss; whether that one halved the step
        self.rises = zeros
        self.shortened = torch.ones_like(zeros, dtype=torch.bool)

    def remember(self, estimate: Estimate, broken: Tensor) -> None:
        """Compare an estimate with the best so far. A gradient that is no number is none.

        Broken images, (B,), stop being attacked at this iterate, which is their result.
        """
        self.gradient = estimate.gradient.nan_to_num_(nan=0.0)
        self.rises = self.rises + (estimate.loss > self.last_loss)
        self.last_loss = estimate.loss
        higher = estimate.loss > self.best_loss
        self.best = torch.where(each(higher), self.adversarial, self.best)
        self.best_gradient = torch.where(each(higher), self.gradient, self.best_gradient)
        self.best_loss = torch.where(higher, estimate.loss, self.best_loss)
        worse = (estimate.margin < self.found_margin) | broken
        self.found = torch.where(each(worse), self.adversarial, self.found)
        self.found_margin = torch.where(worse, estimate.margin, self.found_margin)

    def adapt(self, step: int) -> None:
        """At a checkpoint, halve the steps that led nowhere and go back to the best point."""
        if step not in self.checkpoints:
            return
        seldom = self.rises < RISING_SHARE * self.checkpoints[step]
        stuck = ~self.shortened & (self.checked_loss >= self.best_loss)
        self.shortened = seldom | stuck
        self.checked_loss = self.best_loss
        self.rises = torch.zeros_like(self.rises)
        self.step_size = torch.where(each(self.shortened), self.step_size / 2, self.step_size)
        self.return_to_best(self.shortened)

    def move(self, step: int) -> None:
        """Take a step uphill, with momentum after the first."""
        share = MOMENTUM if step > 0 else 1.0
        here = self.adversarial
        change = here - self.images
        direction = STEPS[self.region.norm][self.region.step_rule()](self.gradient, here)
        there = self.region.moved(self.images, change + self.step_size * direction)
        onwards = share * (there - here) + (1 - share) * (here - self.previous)
        self.previous = here
        self.adversarial = self.region.moved(self.images, change + onwards)

    def return_to_best(self, chosen: Tensor) -> None:
        """Put the chosen images, (B,), back to their best points."""
        self.adversarial = torch.where(each(chosen), self.best, self.adversarial)
        self.previous = torch.where(each(chosen), self.best, self.previous)
        self.gradient = torch.where(each(chosen), self.best_gradient, self.gradient)


class SparseAPGD(APGD):
    """Images under APGD for L1: steps along few values, as many as the best point so far suggests.

    Their `support` is the number of values that were changed at the last checkpoint.
    """

    def __init__(self, region: Region, steps: int, images: Tensor, start: Tensor) -> None:
        super().__init__(region, steps, images, start)
        self.step_size = self.step_size / FIRST_STEP
        # As if that many values were changed by now: the first steps then take FIRST_SUPPORT.
        first = FIRST_SUPPORT * SUPPORT_DIVISOR * images[0].numel()
        self.support = torch.full_like(self.best_loss, first)

    def adapt(self, step: int) -> None:
        """Where the support shrank, take long steps again, from the best point; else shorter."""
        if step == 0 or step % max(1, int(SPARSE_CHECKPOINT * self.steps)):
            return
        support = (self.best != self.images).flatten(1).sum(dim=1).to(self.support)
        shrunk = support < SHRUNK_SUPPORT * self.support
        self.support = support
        shorter = (self.step_size / STEP_DIVISOR).clamp(
            min=SHORTEST_SPARSE_STEP * self.region.epsilon
        )
        self.step_size = torch.where(each(shrunk), self.region.epsilon, shorter)
        self.return_to_best(shrunk)

    def move(self, step: int) -> None:
        """Take a step along the steepest values."""
        count = (self.support / SUPPORT_DIVISOR).long().clamp(1, self.images[0].numel())
        direction = steepest_few(self.gradient, self.adversarial, count)
        change = self.adversarial - self.images + self.step_size * direction
        self.adversarial = self.region.moved(self.images, change)

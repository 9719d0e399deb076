"""APGD: PGD that chooses its own step size (Croce & Hein 2020, arXiv:2003.01690).

It starts with long steps and shortens them where the loss stops rising, each image's by itself,
and then goes on from the best point so far. For L1, where it is the number of changed values that
has to be found, see Croce & Hein 2021 (arXiv:2103.01208). For stochastic models losses and
gradients are averages over noise draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from vonenet.robustness.loop import Start, State
from vonenet.robustness.losses import margin
from vonenet.robustness.norms import Region, steepest_few
from vonenet.robustness.sampling import Estimate, log_averaged_probabilities

# Section 3 of the 2020 paper: step of 2 epsilon, momentum, share of rising steps that is enough.
FIRST_STEP, MOMENTUM, RISING_SHARE = 2.0, 0.75, 0.75
# Checkpoints, in shares of the steps: the first, by how much intervals shrink, the shortest one.
FIRST_CHECKPOINT, SHRINKAGE, SHORTEST = 0.22, 0.03, 0.06
# Section 4 of the 2021 paper: share of values changed at first, divisors of support and step,
# shortest step in epsilon, share of the support below which it counts as shrunk, checkpoints.
FIRST_SUPPORT, SUPPORT_DIVISOR, STEP_DIVISOR = 0.2, 1.5, 1.5
SHORTEST_SPARSE_STEP, SHRUNK_SUPPORT, SPARSE_CHECKPOINT = 0.1, 0.95, 0.04


@dataclass
class APGDState(State):
    """Images under APGD.

    Attributes:
        previous: (B, C, H, W), the iterate before.
        best: (B, C, H, W), the iterate of the highest loss, which shortened steps go on from.
        best_gradient: (B, C, H, W), the gradient there.
        best_loss: (B,).
        found: (B, C, H, W), the iterate with the most wrong decision: what is returned, because
            the highest cross-entropy may belong to a decision that is still right.
        found_margin: (B,), see `vonenet.robustness.losses.margin`.
        step_size: (B, 1, 1, 1).
        last_loss: (B,), of the iterate before.
        rises: (B,), steps since the last checkpoint that raised the loss.
        checked_loss: (B,), `best_loss` at the last checkpoint.
        shortened: (B,), whether the last checkpoint shortened the step.
        support: (B,), values changed at the last checkpoint; for L1.
    """

    previous: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    found: Tensor
    found_margin: Tensor
    step_size: Tensor
    last_loss: Tensor
    rises: Tensor
    checked_loss: Tensor
    shortened: Tensor
    support: Tensor


def checkpoints(steps: int) -> Tensor:
    """How many steps each checkpoint looks back over; 0 where there is none; (steps + 1,)."""
    windows = torch.zeros(steps + 1, dtype=torch.int64)
    share, interval, last = FIRST_CHECKPOINT, FIRST_CHECKPOINT, 0
    while ceil(share * steps) <= steps:
        at = ceil(share * steps)
        windows[at], last = at - last, at
        interval = max(interval - SHRINKAGE, SHORTEST)
        share += interval
    return windows


@dataclass(frozen=True)
class APGD:
    """APGD for L-inf and L2.

    Attributes:
        region: Where the iterates stay.
        steps: Moves; there is one estimate more.
        begin: (images) -> where the attack starts.
    """

    region: Region
    steps: int
    begin: Start

    @property
    def evaluations(self) -> int:
        """Estimates per image."""
        return self.steps + 1

    def start(self, index: Tensor, images: Tensor, goals: Tensor) -> APGDState:
        """Images that nothing has been done to."""
        return _fresh(index, images, goals, self.begin(images), FIRST_STEP * self.region.epsilon)

    def step(self, state: APGDState, estimate: Estimate) -> None:
        """Remembers what is best, shortens steps at checkpoints, moves."""
        _take_in(state, estimate)
        gradient = estimate.gradient
        windows = checkpoints(self.steps)[state.taken]
        if windows.any():
            windows = windows.to(state.images.device)
            gradient = self._shorten(state, gradient, windows)
        share = torch.where(state.taken > 0, MOMENTUM, 1.0).to(state.images).view(-1, 1, 1, 1)
        here = state.adversarial
        change = here - state.images
        step = self.region.ball.step(gradient, here, state.step_size)
        there = self.region.moved(state.images, change + step)
        onwards = share * (there - here) + (1 - share) * (here - state.previous)
        state.previous = here
        state.adversarial = self.region.moved(state.images, change + onwards)

    def result(self, state: APGDState) -> Tensor:
        """The iterate with the most wrong decision."""
        return state.found

    def _shorten(self, state: APGDState, gradient: Tensor, windows: Tensor) -> Tensor:
        """Halves the steps that led nowhere and goes back to the best point; its gradient there."""
        due = windows > 0
        seldom = state.rises < RISING_SHARE * windows
        stuck = ~state.shortened & (state.checked_loss >= state.best_loss)
        shorten = due & (seldom | stuck)
        state.shortened = torch.where(due, shorten, state.shortened)
        state.checked_loss = torch.where(due, state.best_loss, state.checked_loss)
        state.rises = state.rises.masked_fill(due, 0)
        return _return_to_best(state, gradient, shorten, state.step_size / 2)


@dataclass(frozen=True)
class SparseAPGD(APGD):
    """APGD for L1: steps along few values, as many as the best point so far suggests."""

    def start(self, index: Tensor, images: Tensor, goals: Tensor) -> APGDState:
        """Images that nothing has been done to."""
        state = _fresh(index, images, goals, self.begin(images), self.region.epsilon)
        # As if that many values were changed by now: the first steps then take FIRST_SUPPORT.
        state.support += FIRST_SUPPORT * SUPPORT_DIVISOR * images[0].numel()
        return state

    def step(self, state: APGDState, estimate: Estimate) -> None:
        """Remembers what is best, adapts support and step at checkpoints, moves."""
        _take_in(state, estimate)
        gradient = estimate.gradient
        period = max(1, int(SPARSE_CHECKPOINT * self.steps))
        due = (state.taken > 0) & (state.taken % period == 0)
        if due.any():
            gradient = self._adapt(state, gradient, due.to(state.images.device))
        count = (state.support / SUPPORT_DIVISOR).long().clamp(1, state.images[0].numel())
        step = state.step_size * steepest_few(gradient, state.adversarial, count)
        change = state.adversarial - state.images + step
        state.adversarial = self.region.moved(state.images, change)

    def _adapt(self, state: APGDState, gradient: Tensor, due: Tensor) -> Tensor:
        """Where the support shrank: long steps again, from the best point; else shorter ones."""
        support = (state.best != state.images).flatten(1).sum(dim=1).to(state.support)
        shrunk = due & (support < SHRUNK_SUPPORT * state.support)
        shorter = (state.step_size / STEP_DIVISOR).clamp(
            min=SHORTEST_SPARSE_STEP * self.region.epsilon
        )
        state.support = torch.where(due, support, state.support)
        state.step_size = torch.where(_each(due), shorter, state.step_size)
        longest = torch.full_like(state.step_size, self.region.epsilon)
        return _return_to_best(state, gradient, shrunk, longest)


def _fresh(
    index: Tensor, images: Tensor, goals: Tensor, adversarial: Tensor, step_size: float
) -> APGDState:
    zeros = images.new_zeros(len(images))
    lowest = torch.full_like(zeros, -torch.inf)
    return APGDState(
        index=index,
        taken=torch.zeros_like(index),
        images=images,
        goals=goals,
        adversarial=adversarial,
        previous=adversarial,
        best=adversarial,
        best_gradient=torch.zeros_like(images),
        best_loss=lowest,
        found=adversarial,
        found_margin=lowest.clone(),
        step_size=torch.full_like(zeros, step_size).view(-1, 1, 1, 1),
        last_loss=torch.full_like(zeros, torch.inf),  # the first loss is no rise
        rises=zeros.clone(),
        checked_loss=lowest.clone(),
        shortened=torch.ones_like(zeros, dtype=torch.bool),
        support=zeros.clone(),
    )


def _take_in(state: APGDState, estimate: Estimate) -> None:
    """Compares an estimate with the best so far."""
    estimate.gradient.nan_to_num_(nan=0.0)
    state.rises = state.rises + (estimate.loss > state.last_loss)
    state.last_loss = estimate.loss
    higher = estimate.loss > state.best_loss
    state.best = torch.where(_each(higher), state.adversarial, state.best)
    state.best_gradient = torch.where(_each(higher), estimate.gradient, state.best_gradient)
    state.best_loss = torch.where(higher, estimate.loss, state.best_loss)
    wrong = margin(log_averaged_probabilities(estimate.logits), state.goals)
    more_wrong = wrong > state.found_margin
    state.found = torch.where(_each(more_wrong), state.adversarial, state.found)
    state.found_margin = torch.where(more_wrong, wrong, state.found_margin)


def _return_to_best(
    state: APGDState, gradient: Tensor, chosen: Tensor, step_size: Tensor
) -> Tensor:
    """Puts the chosen images back to their best points, with new step sizes; their gradients."""
    each = _each(chosen)
    state.step_size = torch.where(each, step_size, state.step_size)
    state.adversarial = torch.where(each, state.best, state.adversarial)
    state.previous = torch.where(each, state.best, state.previous)
    return torch.where(each, state.best_gradient, gradient)


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)

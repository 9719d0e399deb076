"""The one loop of all attacks: estimate, leave if broken, step, refill the batch.

An attack is a `Method`: how an image starts, and what one step does with an estimate. Images are
worked on a batch at a time; an image that is finished gives its place to the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import sqrt
from typing import Protocol, Self, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vonenet.robustness.losses import margin
from vonenet.robustness.sampling import Estimate, log_averaged_probabilities, sample_logits

# An image of a stochastic model counts as broken when its decision is wrong by more than this many
# standard errors of the noise: by luck once in 700 looks, and an attack of 64 steps looks 64 times.
STANDARD_ERRORS = 3.0


@dataclass
class Rows:
    """Tensors with one row per image, which are selected and joined together."""

    def select(self, kept: Tensor) -> Self:
        """The rows at a boolean mask."""
        return type(self)(**{f.name: getattr(self, f.name)[kept] for f in fields(self)})

    def join(self, other: Self) -> Self:
        """These rows, then the other's."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return type(self)(**{name: torch.cat(pair) for name, pair in pairs.items()})


@dataclass
class State(Rows):
    """Images under attack.

    Attributes:
        index: (B,), each image's place in what `run` was given; on the CPU.
        taken: (B,), steps taken; on the CPU, so that the loop waits for no device.
        images: (B, C, H, W), where the ball's centre is.
        goals: (B,) or (B, 2), see `vonenet.robustness.losses`.
        adversarial: (B, C, H, W), where the next estimate is taken.
    """

    index: Tensor
    taken: Tensor
    images: Tensor
    goals: Tensor
    adversarial: Tensor


AnyState = TypeVar("AnyState", bound=State)
Estimator: TypeAlias = Callable[[Tensor, Tensor], Estimate]
# (images) -> where an attack starts
Start: TypeAlias = Callable[[Tensor], Tensor]


class Method(Protocol[AnyState]):
    """An attack's own part.

    Attributes:
        evaluations: Estimates per image.
    """

    @property
    def evaluations(self) -> int:
        """Estimates per image."""

    def start(self, index: Tensor, images: Tensor, goals: Tensor) -> AnyState:
        """The state of images that nothing has been done to."""

    def step(self, state: AnyState, estimate: Estimate) -> None:
        """Takes in the estimate at `state.adversarial` and moves that on."""

    def result(self, state: AnyState) -> Tensor:
        """What the attack returns when all steps are taken, (B, C, H, W)."""


def run(
    method: Method[AnyState],
    estimate: Estimator,
    images: Tensor,
    goals: Tensor,
    *,
    stopping: Stopping | None = None,
    batch_size: int | None = None,
    progress: str | None = None,
) -> Tensor:
    """Attacks every image.

    Args:
        method: The attack.
        estimate: (pixels, goals) -> what is known of the model there.
        images: (N, C, H, W) in [0, 1].
        goals: (N,) or (N, 2).
        stopping: Decides which images are broken and leave early; None: each takes all steps.
        batch_size: Images at a time; all if None.
        progress: A bar's description; None shows no bar.

    Returns:
        (N, C, H, W), adversarial images.
    """
    found = torch.empty_like(images)
    size = min(batch_size or len(images), len(images))
    state = _start(method, images, goals, 0, size)
    entered, total = size, len(images) * method.evaluations
    with tqdm(total=total, desc=progress, unit="step", disable=progress is None) as bar:
        while len(state.index):
            at = estimate(state.adversarial, state.goals)
            if stopping is not None:
                broken = stopping.broken(state, at)
                found[state.index[broken]] = state.adversarial[broken]
                bar.update(int((method.evaluations - state.taken[broken]).sum()))
                if broken.any():
                    state, at = state.select(~broken), at.select(~broken)
            if len(state.index):
                method.step(state, at)
                state.taken += 1
                bar.update(len(state.index))
            finished = state.taken == method.evaluations
            if finished.any():
                found[state.index[finished]] = method.result(state)[finished]
                state = state.select(~finished)
            places = min(size - len(state.index), len(images) - entered)
            if places:
                state = state.join(_start(method, images, goals, entered, entered + places))
                entered += places
    return found


def _start(
    method: Method[AnyState], images: Tensor, goals: Tensor, first: int, end: int
) -> AnyState:
    index = torch.arange(first, end)
    return method.start(index, images[first:end], goals[first:end])


@dataclass(frozen=True)
class Stopping:
    """Decides that an image is broken.

    A wrong decision of the estimate's own draws makes an image suspect. With one sample, for
    deterministic models, that is enough. With m it must be confirmed: m fresh draws, averaged, must
    be wrong by more than `STANDARD_ERRORS` of their noise. One lucky draw breaks nothing, and an
    image that is left at an even chance goes on being attacked.

    Attributes:
        model: Takes pixels; in eval mode.
        samples: Noise draws per decision.
    """

    model: nn.Module
    samples: int

    @torch.no_grad()
    def broken(self, state: State, estimate: Estimate) -> Tensor:
        """A mask (B,), on the CPU."""
        suspect = margin(log_averaged_probabilities(estimate.logits), state.goals) > 0
        if self.samples > 1 and suspect.any():
            logits = sample_logits(self.model, state.adversarial[suspect], self.samples)
            suspect[suspect.clone()] = surely_broken(logits, state.goals[suspect])
        return suspect.cpu()


def surely_broken(logits: Tensor, goals: Tensor) -> Tensor:
    """Whether averaged decisions are on the attacker's side by more than the noise explains.

    Args:
        logits: (samples, B, K), 2 samples or more.
        goals: (B,) or (B, 2).

    Returns:
        (B,), boolean.
    """
    probabilities = logits.softmax(dim=-1)
    averaged = probabilities.mean(dim=0)
    true_or_wanted = goals if goals.ndim == 1 else goals[:, 1]
    rival = averaged.scatter(1, true_or_wanted[:, None], -1).argmax(dim=1)
    places = torch.stack([true_or_wanted, rival], dim=1).expand(len(logits), -1, -1)
    own, other = probabilities.gather(2, places).unbind(dim=2)
    gain = other - own if goals.ndim == 1 else own - other
    return gain.mean(dim=0) > STANDARD_ERRORS * gain.std(dim=0) / sqrt(len(gain))

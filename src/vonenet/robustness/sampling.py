"""Many noise draws of a stochastic model: its logits, averaged decisions and averaged gradients.

The gradient of one noise draw is not the gradient of the expected loss. An attack that follows it
makes a noisy model look robust (Athalye et al. 2018, arXiv:1802.00420, "expectation over
transformation").
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import log
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from vonenet.data.pixels import PixelModel
from vonenet.data.seeding import seeded
from vonenet.robustness.losses import Loss, cross_entropy, margin_loss

Stage: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class MeanResponseModel(Protocol):
    """A model that is deterministic up to a point, and draws its noise from there on.

    The costly deterministic part is then computed once for any number of noise draws.
    """

    def mean_response(self, images: Tensor, /) -> Tensor:
        """Return the response before noise, (B, ...), to normalised images (B, C, H, W)."""

    def forward_from_mean_response(self, mean_response: Tensor, /) -> Tensor:
        """Return logits (B, K) with fresh noise for every element of the mean response."""


def two_stages(model: nn.Module) -> tuple[Stage, Stage]:
    """Return the model from pixels to its mean response, and from there to logits.

    A model that offers no mean response does all of its work in the second stage.
    """
    if isinstance(model, PixelModel) and isinstance(model.model, MeanResponseModel):
        inner, normalise = model.model, model.normalise

        def before_noise(pixels: Tensor) -> Tensor:
            return inner.mean_response(normalise(pixels))

        return before_noise, inner.forward_from_mean_response
    if isinstance(model, MeanResponseModel):
        return model.mean_response, model.forward_from_mean_response
    return nn.Identity(), model


def sample_logits(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Return logits of independent noise draws, differentiable with respect to the pixels.

    Where the model, or the model inside a `PixelModel`, is a `MeanResponseModel`, all draws share
    one pass up to the mean response. Otherwise the whole forward pass is repeated.

    Args:
        model: Takes pixels; in eval mode, so that the images of a batch do not interact.
        pixels: (B, C, H, W) in [0, 1].
        samples: Number of noise draws per image.

    Returns:
        (samples, B, K).
    """
    before_noise, from_noise_on = two_stages(model)
    mean = before_noise(pixels)
    return torch.stack([from_noise_on(mean) for _ in range(samples)])


@torch.no_grad()
def averaged_probabilities(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Return class probabilities (B, K), averaged over noise draws."""
    return sample_logits(model, pixels, samples).softmax(dim=-1).mean(dim=0)


@torch.no_grad()
def decision_margin(
    model: nn.Module, pixels: Tensor, labels: Tensor, samples: int, targets: Tensor | None = None
) -> Tensor:
    """Return the log odds of the label against the best other class, averaged over noise.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        samples: Noise draws per image, over which probabilities are averaged.
        targets: (B,) classes; if given, the odds are those against the target.

    Returns:
        (B,), negative where an attacker has succeeded. Unlike a difference of probabilities it
        does not saturate, so attacks on a confident model can be told apart.
    """
    return _averaged_margin(sample_logits(model, pixels, samples), labels, targets)


def averaged_gradient(
    model: nn.Module, pixels: Tensor, labels: Tensor, samples: int, loss: Loss = cross_entropy
) -> Tensor:
    """Return the gradient of each image's loss with respect to its pixels, averaged over noise.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) class indices.
        samples: Number of noise draws per image.
        loss: (logits, labels, targets or None) -> (B,); see `vonenet.robustness.losses`.

    Returns:
        (B, C, H, W), the mean of the `samples` per-draw gradients; zeros where the logits do not
        depend on the pixels.
    """
    return Objective(model, labels, samples=samples, loss=loss).estimate(pixels).gradient


@dataclass
class Estimate:
    """What a few noise draws say of each image.

    Attributes:
        loss: (B,), mean loss.
        margin: (B,), as `decision_margin`; negative where the averaged decision is broken.
        gradient: (B, C, H, W), mean gradient of the loss, not guaranteed to be finite.
    """

    loss: Tensor
    margin: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Objective:
    """What an attack maximises: the loss of a model's decisions on labelled images, over noise.

    This wraps the model, so that attacks know nothing of noise, labels or targets. Draws are taken
    one after the other. All at once, in a batch `samples` times as large, they took a quarter
    longer on a CPU and all of the memory; a GPU is filled as well by more images at a time.

    Attributes:
        model: Takes pixels; in eval mode.
        labels: (B,) true classes.
        targets: (B,) classes to reach; None to get away from the labels.
        samples: Noise draws per estimate; 1 for a deterministic model.
        loss: A function of `vonenet.robustness.losses`.
        draws_seed: If given, every estimate sees the same draws, seeded with it: the attack
            optimizes one fixed set of draws, and losses of different steps can be compared. A draw
            belongs to a place in the batch.
        mixed_precision: Forward and backward in bfloat16 where torch's autocast does so.
        stop_samples: Noise draws that confirm that an image is broken; None: nothing stops early.
    """

    model: nn.Module
    labels: Tensor
    targets: Tensor | None = None
    samples: int = 1
    loss: Loss = cross_entropy
    draws_seed: int | None = None
    mixed_precision: bool = False
    stop_samples: int | None = None

    def select(self, images: Tensor | slice) -> Self:
        """Return the objective of some of the images, given by a mask, indices or a slice."""
        targets = None if self.targets is None else self.targets[images]
        return replace(self, labels=self.labels[images], targets=targets)

    def estimate(
        self, pixels: Tensor, standing: Tensor | None = None, *, gradient: bool = True
    ) -> Estimate:
        """Return loss, margin and gradient at these pixels.

        The gradients of the draws are summed at the mean response and go back through the filters
        together, once. Memory does not grow with the number of draws.

        Args:
            pixels: (B, C, H, W) in [0, 1].
            standing: (B,), mask of images that are not broken yet; the others are not computed,
                and get a loss of -inf, a margin of inf and a gradient of 0. None: all.
            gradient: Whether it is wanted; without, it is 0, and draws cost a forward pass each.
        """
        if self.stop_samples is not None and standing is not None and not standing.all():
            part = self.select(standing).estimate(pixels[standing], gradient=gradient)
            return _spread(part, standing)
        before_noise, from_noise_on = two_stages(self.model)
        device = pixels.device
        with torch.set_grad_enabled(gradient), self._draws(device):
            pixels = pixels.detach().requires_grad_(gradient)
            with self._precision(device):
                mean = before_noise(pixels)
            start = mean.detach().requires_grad_(gradient)
            slope, losses, logits = torch.zeros_like(start), [], []
            for _ in range(self.samples):
                with self._precision(device):
                    drawn = _full_precision(from_noise_on(start))
                loss = self.loss(drawn, self.labels, self.targets)
                if gradient:
                    slope += _slope(loss.sum(), start)
                losses.append(loss.detach())
                logits.append(drawn.detach())
            slope /= self.samples
            total = slope if mean is pixels else _slope(mean, pixels, slope)
        margins = _averaged_margin(torch.stack(logits), self.labels, self.targets)
        return Estimate(torch.stack(losses).mean(dim=0), margins, total)

    @torch.no_grad()
    def still_standing(self, pixels: Tensor, estimate: Estimate, standing: Tensor) -> Tensor:
        """Return which of the standing images, (B,), the attack has to go on with.

        An image is broken if its averaged decision is. Of a stochastic model this must be
        confirmed: `stop_samples` fresh draws must all decide for the attacker. Where some do not,
        the image may stand at the decision boundary, and the attack goes on.
        """
        if self.stop_samples is None:
            return standing
        broken = estimate.margin < 0
        if self.stop_samples > 1 and bool(broken.any()):
            suspects = self.select(broken)
            logits = sample_logits(self.model, pixels[broken], self.stop_samples)
            wins = [margin_loss(each, suspects.labels, suspects.targets) > 0 for each in logits]
            broken[broken.clone()] = torch.stack(wins).all(dim=0)
        return standing & ~broken

    def _draws(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext() if self.draws_seed is None else seeded(self.draws_seed, device)

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return (
            torch.autocast(device.type, torch.bfloat16) if self.mixed_precision else nullcontext()
        )


def _averaged_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Margin of the probabilities averaged over draws, (samples, B, K) -> (B,)."""
    averaged = logits.log_softmax(dim=-1).logsumexp(dim=0) - log(len(logits))
    return -margin_loss(averaged, labels, targets)


def _spread(part: Estimate, standing: Tensor) -> Estimate:
    """Put an estimate of the standing images among all of them."""

    def full(values: Tensor, fill: float) -> Tensor:
        whole = values.new_full((len(standing), *values.shape[1:]), fill)
        whole[standing] = values
        return whole

    return Estimate(
        full(part.loss, -torch.inf), full(part.margin, torch.inf), full(part.gradient, 0.0)
    )


def _slope(output: Tensor, at: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gradient of an output; zeros where it does not depend on `at`, or not differentiably."""
    if not output.requires_grad:
        return torch.zeros_like(at)
    (slope,) = torch.autograd.grad(output, at, weight, allow_unused=True, materialize_grads=True)
    return slope


def _full_precision(logits: Tensor) -> Tensor:
    """Losses of logits in bfloat16 would round gradients to zero."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

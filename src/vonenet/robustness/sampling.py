"""What attacks and decisions ask of a model: losses, averaged over draws of its noise.

The gradient of one noise draw is not the gradient of the expected loss. An attack that follows it
makes a noisy model look robust (Athalye et al. 2018, arXiv:1802.00420, "expectation over
transformation").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import log
from typing import Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.data.pixels import PixelModel
from vonenet.data.seeding import seeded
from vonenet.errors import InputError

Stage: TypeAlias = Callable[[Tensor], Tensor]
# (logits (B, K), labels (B,), targets (B,) or None) -> (B,), what an attack maximises: larger where
# the model is more wrong; with targets, where it is nearer to them.
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
        from_noise_on = inner.forward_from_mean_response
        return lambda pixels: inner.mean_response(normalise(pixels)), from_noise_on
    if isinstance(model, MeanResponseModel):
        return model.mean_response, model.forward_from_mean_response
    return nn.Identity(), model


def sample_logits(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Return logits of independent noise draws, (samples, B, K), differentiable to the pixels.

    Where the model, or the model inside a `PixelModel`, is a `MeanResponseModel`, all draws share
    one pass up to the mean response. Otherwise the whole forward pass is repeated.
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
    """Return the log odds of the label against the best other class, averaged over noise draws.

    With targets, the odds against the target. (B,), negative where an attacker has succeeded.
    Unlike a difference of probabilities it does not saturate, so attacks on a confident model can
    be told apart.
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
        loss: One of `LOSSES`, or another (logits, labels, targets or None) -> (B,).

    Returns:
        (B, C, H, W), the mean of the `samples` per-draw gradients; zeros where the logits do not
        depend on the pixels.
    """
    return Objective(model, labels, samples=samples, loss=loss).estimate(pixels).gradient


@dataclass
class Estimate:
    """What a few noise draws say of each image."""

    loss: Tensor  # (B,), mean loss
    margin: Tensor  # (B,), as `decision_margin`; negative where the averaged decision is broken
    gradient: Tensor  # (B, C, H, W), mean gradient of the loss, not guaranteed to be finite


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
        loss: One of `LOSSES`.
        draws_seed: If given, every estimate sees the same draws, seeded with it: the attack
            optimizes one fixed set of draws, and losses of different steps can be compared. A draw
            belongs to a place in the batch.
        stop_samples: Noise draws that confirm that an image is broken; None: nothing stops early.
    """

    model: nn.Module
    labels: Tensor
    targets: Tensor | None = None
    samples: int = 1
    loss: Loss = cross_entropy
    draws_seed: int | None = None
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
            return Estimate(
                _spread(part.loss, standing, fill=-torch.inf),
                _spread(part.margin, standing, fill=torch.inf),
                _spread(part.gradient, standing, fill=0.0),
            )
        before_noise, from_noise_on = two_stages(self.model)
        draws = nullcontext() if self.draws_seed is None else seeded(self.draws_seed, pixels.device)
        with torch.set_grad_enabled(gradient), draws:
            pixels = pixels.detach().requires_grad_(gradient)
            mean = before_noise(pixels)
            start = mean.detach().requires_grad_(gradient)
            slope, losses, logits = torch.zeros_like(start), [], []
            for _ in range(self.samples):
                drawn = from_noise_on(start)
                if drawn.dtype in (torch.bfloat16, torch.float16):
                    drawn = drawn.float()  # losses of half-precision logits round gradients to zero
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


def _averaged_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the margin of the probabilities averaged over draws, (samples, B, K) -> (B,)."""
    averaged = logits.log_softmax(dim=-1).logsumexp(dim=0) - log(len(logits))
    return -margin_loss(averaged, labels, targets)


def _spread(values: Tensor, standing: Tensor, *, fill: float) -> Tensor:
    """Put values of the standing images among those of all."""
    whole = values.new_full((len(standing), *values.shape[1:]), fill)
    whole[standing] = values
    return whole


def _slope(output: Tensor, at: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return an output's gradient; zeros where it does not depend on `at` differentiably."""
    if not output.requires_grad:
        return torch.zeros_like(at)
    (slope,) = torch.autograd.grad(output, at, weight, allow_unused=True, materialize_grads=True)
    return slope

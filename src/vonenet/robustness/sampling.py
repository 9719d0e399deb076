"""Many noise samples of a stochastic model: its logits, averaged gradients, averaged decisions.

The gradient of one noise draw is not the gradient of the expected loss; an attack that follows it
makes a noisy model look robust (Athalye et al. 2018, arXiv:1802.00420, "expectation over
transformation").
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import log
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from vonenet.data.pixels import PixelModel
from vonenet.data.seeding import seeded
from vonenet.robustness.losses import Loss, cross_entropy, margin

Stage: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class MeanResponseModel(Protocol):
    """A model that is deterministic up to a point, and draws its noise from there on.

    The costly deterministic part is then paid once for any number of noise samples.
    """

    def mean_response(self, images: Tensor, /) -> Tensor:
        """Returns the response before noise, (B, ...), to normalised images (B, C, H, W)."""

    def forward_from_mean_response(self, mean_response: Tensor, /) -> Tensor:
        """Returns logits (B, K) with fresh noise for every element of the mean response."""


def sample_logits(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Logits of `samples` independent noise draws, differentiable with respect to the pixels.

    Where the model, or the model inside a `PixelModel`, is a `MeanResponseModel`, all samples
    share one pass up to the mean response; otherwise the whole forward is repeated.

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


def averaged_gradient(
    model: nn.Module, pixels: Tensor, labels: Tensor, samples: int, loss: Loss = cross_entropy
) -> Tensor:
    """Gradient of each image's loss with respect to its pixels, averaged over noise.

    The gradients of the draws are summed at the mean response and go back through the filters
    together, once. Memory does not grow with the number of samples.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) class indices; or the loss's goals.
        samples: Number of noise draws per image.
        loss: (logits, labels) -> (B,); see `vonenet.robustness.losses`.

    Returns:
        (B, C, H, W), the mean of the `samples` per-draw gradients; zeros where the logits do not
        depend on the pixels.
    """
    return Sampler(model, samples, loss)(pixels, labels).gradient


@dataclass
class Estimate:
    """What `samples` noise draws say of each image.

    Attributes:
        gradient: (B, C, H, W), mean gradient of the loss; not guaranteed to be finite.
        loss: (B,), mean loss.
        logits: (samples, B, K).
    """

    gradient: Tensor
    loss: Tensor
    logits: Tensor

    def select(self, kept: Tensor) -> Self:
        """What is known of the images at a boolean mask."""
        return type(self)(self.gradient[kept], self.loss[kept], self.logits[:, kept])


@dataclass(frozen=True)
class Sampler:
    """Estimates loss and gradient of a model, for an attack that knows nothing of either.

    Draws are taken one after the other: all at once, in a batch `samples` times as large, they took
    a quarter longer on a CPU (voneresnet18 and the demonstration's net) and all of the memory; a
    GPU is filled as well by more images at a time.

    Attributes:
        model: Takes pixels; in eval mode.
        samples: Noise draws per estimate; 1 for a deterministic model.
        loss: What the attack climbs.
        draws_seed: If given, every estimate sees the same draws, seeded with it: the attack
            optimises one fixed set of draws, and losses of different steps can be compared. A draw
            belongs to a place in the batch.
        mixed_precision: Forward and backward in bfloat16 where torch's autocast does so.
    """

    model: nn.Module
    samples: int = 1
    loss: Loss = cross_entropy
    draws_seed: int | None = None
    mixed_precision: bool = False

    def __call__(self, pixels: Tensor, goals: Tensor) -> Estimate:
        """Loss, gradient and logits at these pixels."""
        before_noise, from_noise_on = two_stages(self.model)
        with torch.enable_grad(), self._draws(pixels.device):
            pixels = pixels.detach().requires_grad_()
            with self._precision(pixels.device):
                mean = before_noise(pixels)
            start = mean.detach().requires_grad_()
            slope, losses, logits = self._draw(from_noise_on, start, goals)
            every_loss, every_logits = [losses], [logits]
            for _ in range(self.samples - 1):
                another, losses, logits = self._draw(from_noise_on, start, goals)
                slope += another
                every_loss.append(losses)
                every_logits.append(logits)
            if self.samples > 1:
                slope /= self.samples
            gradient = slope if mean is pixels else _slope(mean, pixels, slope)
        return Estimate(gradient, torch.stack(every_loss).mean(dim=0), torch.stack(every_logits))

    def _draw(
        self, from_noise_on: Stage, start: Tensor, goals: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One draw: the loss's gradient at the start of the noise, the losses, the logits."""
        with self._precision(start.device):
            logits = _full_precision(from_noise_on(start))
        losses = self.loss(logits, goals)
        return _slope(losses.sum(), start), losses.detach(), logits.detach()

    @torch.no_grad()
    def losses(self, pixels: Tensor, goals: Tensor) -> Estimate:
        """The same without a gradient, which is empty: one forward pass per draw."""
        with self._draws(pixels.device), self._precision(pixels.device):
            logits = _full_precision(sample_logits(self.model, pixels, self.samples))
        losses = torch.stack([self.loss(each, goals) for each in logits])
        return Estimate(pixels.new_empty(len(pixels), 0), losses.mean(dim=0), logits)

    def _draws(self, device: torch.device) -> AbstractContextManager[None]:
        return nullcontext() if self.draws_seed is None else seeded(self.draws_seed, device)

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return (
            torch.autocast(device.type, torch.bfloat16) if self.mixed_precision else nullcontext()
        )


@torch.no_grad()
def averaged_probabilities(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Class probabilities (B, K), averaged over `samples` noise draws."""
    return sample_logits(model, pixels, samples).softmax(dim=-1).mean(dim=0)


def log_averaged_probabilities(logits: Tensor) -> Tensor:
    """Logarithm of the class probabilities averaged over draws: (samples, B, K) -> (B, K)."""
    return logits.log_softmax(dim=-1).logsumexp(dim=0) - log(len(logits))


@torch.no_grad()
def decision_margin(model: nn.Module, pixels: Tensor, goals: Tensor, samples: int) -> Tensor:
    """Log odds of the true class against the best other, of probabilities averaged over noise.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        goals: (B,) true classes; or (B, 2) with wanted ones, against which the odds then are.
        samples: Noise draws per image.

    Returns:
        (B,), negative where an attacker has succeeded. Unlike a difference of probabilities it
        does not saturate, so attacks on a confident model can be told apart.
    """
    return -margin(log_averaged_probabilities(sample_logits(model, pixels, samples)), goals)


def two_stages(model: nn.Module) -> tuple[Stage, Stage]:
    """The model from pixels to its mean response, and from there to logits.

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


def _slope(output: Tensor, at: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gradient of an output; zeros where it does not depend on `at`, or not differentiably."""
    if not output.requires_grad:
        return torch.zeros_like(at)
    (slope,) = torch.autograd.grad(output, at, weight, allow_unused=True, materialize_grads=True)
    return slope


def _full_precision(logits: Tensor) -> Tensor:
    """Losses of logits in bfloat16 would round gradients to zero."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits

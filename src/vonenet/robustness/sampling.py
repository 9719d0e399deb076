"""Many noise samples of a stochastic model: its logits, averaged gradients, averaged decisions.

The gradient of one noise draw is not the gradient of the expected loss; an attack that follows it
makes a noisy model look robust (Athalye et al. 2018, arXiv:1802.00420, "expectation over
transformation").
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vonenet.data.pixels import PixelModel

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
    before_noise, from_noise_on = _two_stages(model)
    mean = before_noise(pixels)
    return torch.stack([from_noise_on(mean) for _ in range(samples)])


def averaged_gradient(model: nn.Module, pixels: Tensor, labels: Tensor, samples: int) -> Tensor:
    """Gradient of each image's cross-entropy with respect to its pixels, averaged over noise.

    The gradients of the draws are summed at the mean response and go back through the filters
    together, once. Memory does not grow with the number of samples.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) class indices.
        samples: Number of noise draws per image.

    Returns:
        (B, C, H, W), the mean of the `samples` per-draw gradients.
    """
    before_noise, from_noise_on = _two_stages(model)
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        mean = before_noise(pixels)
        start = mean.detach().requires_grad_()
        total = torch.zeros_like(start)
        for _ in range(samples):
            loss = cross_entropy(from_noise_on(start), labels, reduction="sum")
            total += torch.autograd.grad(loss, start)[0]
        (gradient,) = torch.autograd.grad(mean, pixels, total / samples)
    return gradient


@torch.no_grad()
def averaged_probabilities(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Class probabilities (B, K), averaged over `samples` noise draws."""
    return sample_logits(model, pixels, samples).softmax(dim=-1).mean(dim=0)


def _two_stages(model: nn.Module) -> tuple[Stage, Stage]:
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

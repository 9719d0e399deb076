"""Many noise samples of a stochastic model: its logits, averaged gradients, averaged decisions.

The gradient of one noise draw is not the gradient of the expected loss; an attack that follows it
makes a noisy model look robust (Athalye et al. 2018, arXiv:1802.00420, "expectation over
transformation").
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vonenet.data.pixels import PixelModel


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
    stages = _two_stages(model, pixels)
    if stages is None:
        return torch.stack([model(pixels) for _ in range(samples)])
    noisy_stage, images = stages
    mean = noisy_stage.mean_response(images)
    repeated = mean.expand(samples, *mean.shape).flatten(0, 1)
    logits = noisy_stage.forward_from_mean_response(repeated)
    return logits.reshape(samples, len(pixels), -1)


def averaged_gradient(model: nn.Module, pixels: Tensor, labels: Tensor, samples: int) -> Tensor:
    """Gradient of each image's cross-entropy with respect to its pixels, averaged over noise.

    Args:
        model: Takes pixels; in eval mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) class indices.
        samples: Number of noise draws per image.

    Returns:
        (B, C, H, W), the mean of the `samples` per-draw gradients.
    """
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        logits = sample_logits(model, pixels, samples)
        losses = cross_entropy(logits.flatten(0, 1), labels.repeat(samples), reduction="sum")
        (gradient,) = torch.autograd.grad(losses / samples, pixels)
    return gradient


@torch.no_grad()
def averaged_probabilities(model: nn.Module, pixels: Tensor, samples: int) -> Tensor:
    """Class probabilities (B, K), averaged over `samples` noise draws."""
    return sample_logits(model, pixels, samples).softmax(dim=-1).mean(dim=0)


def _two_stages(model: nn.Module, pixels: Tensor) -> tuple[MeanResponseModel, Tensor] | None:
    """The model that offers its mean response and the images it takes; None if none does."""
    if isinstance(model, PixelModel) and isinstance(model.model, MeanResponseModel):
        return model.model, model.normalise(pixels)
    if isinstance(model, MeanResponseModel):
        return model, pixels
    return None

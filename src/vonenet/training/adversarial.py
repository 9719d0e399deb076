"""Adversarial training's inner half: the images that the network is to learn from, attacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vonenet.robustness.loop import run
from vonenet.robustness.norms import Region
from vonenet.robustness.projected_descent import PGD
from vonenet.robustness.readiness import eval_mode
from vonenet.robustness.sampling import Sampler
from vonenet.training.recipe import AdversarialRecipe


def attacked(model: nn.Module, pixels: Tensor, labels: Tensor, recipe: AdversarialRecipe) -> Tensor:
    """PGD against the network as it is now, in eval mode (Madry et al. 2018, arXiv:1706.06083).

    Only the images get a gradient. Random starts and noise come from torch's global generators,
    those of the images' device. Called under `torch.autocast`, the network runs in that precision.

    Args:
        model: Takes pixels in [0, 1], not wrapped for distribution; left in the modes that its
            modules are in.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) class indices; or (B, K) targets, whose largest is attacked.
        recipe: How; with an epsilon of 0 nothing is done.

    Returns:
        (B, C, H, W) in [0, 1], not further than epsilon from the images.
    """
    if recipe.epsilon == 0:
        return pixels
    region = Region(recipe.norm, recipe.epsilon)

    def random_point(images: Tensor) -> Tensor:
        # Drawn where the images are; `Region.random_point` draws on the CPU, which takes long
        noise = 2 * torch.rand(images.shape, device=images.device) - 1
        return (images + region.ball.start(noise, images, region.epsilon)).clamp_(0, 1)

    attack = PGD(
        region,
        evaluations=recipe.steps,
        step_size=recipe.step_size or 2.5 * recipe.epsilon / recipe.steps,
        momentum=0.0,
        begin=random_point if recipe.random_start else torch.clone,
    )
    classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
    with eval_mode(model):
        return run(attack, Sampler(model, recipe.gradient_samples), pixels, classes)

"""Projected gradient descent in pixel space: one loop; a norm is its step and its projection.

After Madry et al. 2018 (arXiv:1706.06083), with gradients averaged over noise samples for
stochastic models. With one step and the step size equal to epsilon it is FGSM.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness.sampling import averaged_gradient

# An L1 step moves this share of an image's values: its steepest (Tramer & Boneh 2019,
# arXiv:1904.13000, "sparse l1 descent", quantile 0.99).
L1_SHARE = 0.01


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 64,
    step_size: float | None = None,
    gradient_samples: int = 10,
    random_start: bool = False,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    """Untargeted PGD on the cross-entropy, always inside the box [0, 1] and the ball.

    Args:
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        norm: "linf", "l2" or "l1".
        epsilon: Radius of the ball around each image, in pixel units (L-inf 1/255 is one grey
            level).
        steps: Number of gradient steps; one is FGSM.
        step_size: Length of a step in the norm. Default: epsilon / 32 from 64 steps on, as in the
            VOneNet paper; 2.5 epsilon / steps for fewer, so that they still reach the border.
        gradient_samples: Noise draws that each gradient is averaged over; 1 for a deterministic
            model.
        random_start: Start at a random point of the ball instead of the image.
        generator: Source of the random start; a CPU generator.
        progress: Show a progress bar over the steps.

    Returns:
        The last iterate, (B, C, H, W).

    Raises:
        InputError: On an unknown norm, a negative epsilon, counts below 1, or images outside
            [0, 1].
    """
    check_attack(norm, epsilon, steps, gradient_samples)
    check_pixels(images)
    if step_size is None:
        step_size = default_step_size(epsilon, steps)
    ball = BALLS[norm]
    change = torch.zeros_like(images)
    if random_start:
        uniform = torch.rand(images.shape, generator=generator).to(images)
        change = ball.project(epsilon * (2 * uniform - 1), epsilon)
    adversarial = (images + change).clamp(0, 1)
    for _ in tqdm(range(steps), desc=f"PGD {norm}", unit="step", disable=not progress):
        gradient = averaged_gradient(model, adversarial, labels, gradient_samples)
        change = adversarial - images + ball.step(gradient, adversarial, step_size)
        adversarial = (images + ball.project(change, epsilon)).clamp(0, 1)
    return adversarial


def default_step_size(epsilon: float, steps: int) -> float:
    """The paper's epsilon / 32 for its 64 steps or more; 2.5 epsilon / steps for fewer."""
    return epsilon / 32 if steps >= 64 else 2.5 * epsilon / steps


def check_attack(norm: str, epsilon: float, steps: int, gradient_samples: int) -> None:
    """Refuses impossible settings of an attack.

    Raises:
        InputError: Naming the setting.
    """
    if norm not in BALLS:
        raise InputError(f"norm={norm!r} is unknown; allowed: {', '.join(BALLS)}")
    if not 0 <= epsilon < float("inf"):
        raise InputError(f"epsilon={epsilon} is not a radius; allowed: finite, 0 or more")
    for name, count in (("steps", steps), ("gradient_samples", gradient_samples)):
        if count < 1:
            raise InputError(f"{name}={count} is too few; at least 1")


def step_linf(gradient: Tensor, _: Tensor, size: float) -> Tensor:
    """Steepest ascent in L-inf: the gradient's signs."""
    return size * gradient.sign()


def project_linf(change: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L-inf ball."""
    return change.clamp(-epsilon, epsilon)


def step_l2(gradient: Tensor, _: Tensor, size: float) -> Tensor:
    """Steepest ascent in L2: the gradient scaled to the step's length; none where it is zero."""
    # Divided by its largest value first: squares of gradients below 1e-19 are zero in float32.
    direction = gradient / _positive(gradient.abs().amax(dim=(1, 2, 3), keepdim=True))
    return size * direction / _positive(_length(direction))


def project_l2(change: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L2 ball."""
    return change * (epsilon / _positive(_length(change))).clamp(max=1)


def step_l1(gradient: Tensor, adversarial: Tensor, size: float) -> Tensor:
    """Nearly steepest ascent in L1: an equal share for each of the few steepest values.

    Values that the box would not let move (white asked to rise, black to fall) are passed over.
    """
    stuck = ((adversarial >= 1) & (gradient > 0)) | ((adversarial <= 0) & (gradient < 0))
    slopes = gradient.masked_fill(stuck, 0).flatten(1)
    count = max(1, round(L1_SHARE * slopes.shape[1]))
    steepest = slopes.abs().topk(count, dim=1).indices
    step = torch.zeros_like(slopes).scatter(1, steepest, slopes.gather(1, steepest).sign())
    return (size / count * step).view_as(gradient)


def project_l1(change: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L1 ball, by soft thresholding (Duchi et al. 2008, ICML, figure 1)."""
    sizes = change.flatten(1).abs()
    descending = sizes.sort(dim=1, descending=True).values
    rank = torch.arange(1, sizes.shape[1] + 1, device=sizes.device)
    thresholds = (descending.cumsum(dim=1) - epsilon) / rank
    kept = (descending > thresholds).sum(dim=1, keepdim=True).clamp(min=1)
    threshold = thresholds.gather(1, kept - 1)
    shrunk = change.flatten(1).sign() * (sizes - threshold).clamp(min=0)
    inside = sizes.sum(dim=1, keepdim=True) <= epsilon
    return torch.where(inside, change.flatten(1), shrunk).view_as(change)


@dataclass(frozen=True)
class Ball:
    """A norm's ball: how to step inside it and how to come back into it."""

    step: Callable[[Tensor, Tensor, float], Tensor]
    project: Callable[[Tensor, float], Tensor]


BALLS: Mapping[str, Ball] = {
    "linf": Ball(step_linf, project_linf),
    "l2": Ball(step_l2, project_l2),
    "l1": Ball(step_l1, project_l1),
}


def _length(images: Tensor) -> Tensor:
    return images.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def _positive(values: Tensor) -> Tensor:
    """Values with zeros replaced by the smallest normal number, to divide by."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)

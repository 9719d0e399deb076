"""The balls of the three norms: how to step inside one, come back into it, and start in it.

A ball is three small functions; attacks differ between norms in nothing else. Images are
(B, C, H, W) in [0, 1]; a change is what is added to them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vonenet.errors import InputError

# An L1 step moves this share of an image's values: its steepest (Tramer & Boneh 2019,
# arXiv:1904.13000, "sparse l1 descent", quantile 0.99).
L1_SHARE = 0.01
# Halvings of the interval of an L1 threshold: below float32's resolution of any threshold.
HALVINGS = 40


def step_linf(gradient: Tensor, _: Tensor, size: float | Tensor) -> Tensor:
    """Steepest ascent in L-inf: the gradient's signs."""
    return size * gradient.sign()


def project_linf(change: Tensor, _: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L-inf ball."""
    return change.clamp(-epsilon, epsilon)


def step_l2(gradient: Tensor, _: Tensor, size: float | Tensor) -> Tensor:
    """Steepest ascent in L2: the gradient scaled to the step's length; none where it is zero."""
    # Divided by its largest value first: squares of gradients below 1e-19 are zero in float32.
    direction = gradient / _positive(gradient.abs().amax(dim=(1, 2, 3), keepdim=True))
    return size * direction / _positive(length_l2(direction))


def project_l2(change: Tensor, _: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L2 ball."""
    return change * (epsilon / _positive(length_l2(change))).clamp(max=1)


def step_l1(gradient: Tensor, adversarial: Tensor, size: float | Tensor) -> Tensor:
    """Nearly steepest ascent in L1: an equal share for each of the few steepest values."""
    values = gradient[0].numel()
    return size * steepest_few(gradient, adversarial, max(1, round(L1_SHARE * values)))


def steepest_few(gradient: Tensor, adversarial: Tensor, count: int | Tensor) -> Tensor:
    """A direction of L1 length one: equal shares, signed, for the steepest values that can move.

    Values that the box would not let move (white asked to rise, black to fall) are passed over.

    Args:
        gradient: (B, C, H, W).
        adversarial: Where it was taken, in [0, 1].
        count: How many values share the step, one number or (B,) numbers; at least 1.
    """
    stuck = ((adversarial >= 1) & (gradient > 0)) | ((adversarial <= 0) & (gradient < 0))
    slopes = gradient.masked_fill(stuck, 0).flatten(1)
    counts = torch.as_tensor(count, device=slopes.device).expand(len(slopes))
    most = int(counts.max())
    steepest = slopes.abs().topk(most, dim=1).indices
    shares = slopes.gather(1, steepest).sign() / counts[:, None]
    shares *= torch.arange(most, device=slopes.device) < counts[:, None]
    return torch.zeros_like(slopes).scatter_(1, steepest, shares).view_as(gradient)


def project_l1(change: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Nearest point of the L1 ball inside the box: soft thresholding, cut where the box ends.

    Projecting on the ball first and clipping to the box afterwards would waste what is clipped
    (Croce & Hein 2021, arXiv:2103.01208, section 3). With sizes |d| and room r up to the box, the
    nearest point is sign(d) min(max(|d| - t, 0), r); the threshold t, common to an image's values,
    is where the sizes sum to epsilon, found by bisection.
    """
    sizes = change.flatten(1).abs()
    room = torch.where(change > 0, 1 - images, images).flatten(1)
    low = sizes.new_zeros(len(sizes), 1)
    high = sizes.amax(dim=1, keepdim=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = _thresholded(sizes, middle, room).sum(dim=1, keepdim=True) > epsilon
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    inside = torch.minimum(sizes, room).sum(dim=1, keepdim=True) <= epsilon
    kept = _thresholded(sizes, high.masked_fill(inside, 0), room).view_as(change)
    return change.sign() * kept


def uniform_in_cube(noise: Tensor, _: Tensor, epsilon: float) -> Tensor:
    """A start for L-inf from uniform noise in [-1, 1]."""
    return epsilon * noise


def along_direction(noise: Tensor, _: Tensor, epsilon: float) -> Tensor:
    """A start for L2: on the sphere, where nearly all of the ball's volume is."""
    return epsilon * noise / _positive(length_l2(noise))


def projected_start(noise: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """A start for L1: noise brought into the ball and the box, which leaves it sparse."""
    return project_l1(noise, images, epsilon)


@dataclass(frozen=True)
class Ball:
    """A norm's ball.

    Attributes:
        step: (gradient, adversarial images, length) -> a step of that length, uphill.
        project: (change, images, epsilon) -> the nearest change inside the ball; what it leaves
            outside the box, clipping brings back without leaving the ball.
        start: (noise in [-1, 1], images, epsilon) -> a random change inside the ball.
        length: (change) -> its length for each image, (B, 1, 1, 1).
    """

    step: Callable[[Tensor, Tensor, float | Tensor], Tensor]
    project: Callable[[Tensor, Tensor, float], Tensor]
    start: Callable[[Tensor, Tensor, float], Tensor]
    length: Callable[[Tensor], Tensor]


def length_linf(change: Tensor) -> Tensor:
    """Largest absolute value of each image's change, (B, 1, 1, 1)."""
    return change.abs().amax(dim=(1, 2, 3), keepdim=True)


def length_l2(change: Tensor) -> Tensor:
    """Euclidean length of each image's change, (B, 1, 1, 1)."""
    return change.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()


def length_l1(change: Tensor) -> Tensor:
    """Sum of absolute values of each image's change, (B, 1, 1, 1)."""
    return change.abs().sum(dim=(1, 2, 3), keepdim=True)


BALLS: Mapping[str, Ball] = {
    "linf": Ball(step_linf, project_linf, uniform_in_cube, length_linf),
    "l2": Ball(step_l2, project_l2, along_direction, length_l2),
    "l1": Ball(step_l1, project_l1, projected_start, length_l1),
}


@dataclass(frozen=True)
class Region:
    """Where an attack may go: the ball of one radius around each image, inside the box [0, 1].

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilon: Radius in pixel units.

    Raises:
        InputError: On an unknown norm or an impossible radius.
    """

    norm: str
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in BALLS:
            raise InputError(f"norm={self.norm!r} is unknown; allowed: {', '.join(BALLS)}")
        if not 0 <= self.epsilon < float("inf"):
            raise InputError(f"epsilon={self.epsilon} is not a radius; allowed: finite, 0 or more")

    @property
    def ball(self) -> Ball:
        """The norm's functions."""
        return BALLS[self.norm]

    def moved(self, images: Tensor, change: Tensor) -> Tensor:
        """Images with a change, or as near to it as the region allows."""
        return (images + self.ball.project(change, images, self.epsilon)).clamp_(0, 1)

    def random_point(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A random point around each image; each image's depends on those before it alone.

        Args:
            images: (B, C, H, W) in [0, 1].
            generator: A CPU generator; torch's global one if None.
        """
        draws = [torch.rand(images.shape[1:], generator=generator) for _ in images]
        noise = 2 * torch.stack(draws).to(images) - 1
        return (images + self.ball.start(noise, images, self.epsilon)).clamp_(0, 1)


def _thresholded(sizes: Tensor, threshold: Tensor, room: Tensor) -> Tensor:
    return (sizes - threshold).clamp_(min=0).minimum(room)


def _positive(values: Tensor) -> Tensor:
    """Values with zeros replaced by the smallest normal number, to divide by."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)

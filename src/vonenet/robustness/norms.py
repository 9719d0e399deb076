"""Where attacks may go and how they step: the balls of three norms inside the box [0, 1].

Images are (B, C, H, W) in [0, 1]; a change is what is added to them. A length is per image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vonenet.errors import InputError

ORDERS = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
# A sparse L1 step moves this share of an image's values, the steepest ones (Tramer & Boneh 2019,
# arXiv:1904.13000, "sparse l1 descent", quantile 0.99).
SPARSE_SHARE = 0.01
# Halvings of the interval of an L1 threshold: below float32's resolution of any threshold.
HALVINGS = 40


def length(change: Tensor, norm: str) -> Tensor:
    """Return the length of each image's change in a norm, (B, 1, 1, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(change, ORDERS[norm], dim=(1, 2, 3), keepdim=True)
    return lengths


def step_along(gradient: Tensor, _: Tensor, *, norm: str) -> Tensor:
    """Return the gradient at length one; zero where it is zero.

    In L2 this is the steepest direction. In L1 it is the step of the Adversarial Robustness
    Toolbox, with which the VOneNet paper made its attacks, and weaker than `step_sparse`.
    """
    # Scaled to a largest value of 1 first: squares below 1e-38 are zero in float32.
    direction = gradient / _positive(length(gradient, "linf"))
    return direction / _positive(length(direction, norm))


def step_sparse(gradient: Tensor, adversarial: Tensor) -> Tensor:
    """Return a nearly steepest direction in L1: equal shares for the steepest 1 % of the values."""
    return steepest_few(gradient, adversarial, max(1, round(SPARSE_SHARE * gradient[0].numel())))


def steepest_few(gradient: Tensor, adversarial: Tensor, count: int | Tensor) -> Tensor:
    """Return a direction of L1 length one: equal, signed shares for the steepest values.

    So many values of each image share it, (B,) or the same number. Values that the box would not
    let move (white asked to rise, black to fall) are passed over.
    """
    stuck = ((adversarial >= 1) & (gradient > 0)) | ((adversarial <= 0) & (gradient < 0))
    slopes = gradient.masked_fill(stuck, 0).flatten(1)
    counts = torch.as_tensor(count, device=slopes.device).expand(len(slopes))
    most = int(counts.max())
    steepest = slopes.abs().topk(most, dim=1).indices
    shares = slopes.gather(1, steepest).sign() / counts[:, None]
    shares *= torch.arange(most, device=slopes.device) < counts[:, None]
    return torch.zeros_like(slopes).scatter_(1, steepest, shares).view_as(gradient)


# Step rules of each norm, the default first: (gradient, adversarial images) -> direction uphill
STEPS: Mapping[str, Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "linf": {"sign": lambda gradient, _: gradient.sign()},
    "l2": {"normalized": partial(step_along, norm="l2")},
    "l1": {"sparse": step_sparse, "dense": partial(step_along, norm="l1")},
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
        if self.norm not in ORDERS:
            raise InputError(f"norm={self.norm!r} is unknown; allowed: {', '.join(ORDERS)}")
        if not 0 <= self.epsilon < float("inf"):
            raise InputError(f"epsilon={self.epsilon} is not a radius; allowed: finite, 0 or more")

    def step_rule(self, name: str | None = None) -> str:
        """Return the name of a step rule, the norm's default one if None.

        Raises:
            InputError: If the norm has no rule of that name.
        """
        rules = STEPS[self.norm]
        if name is not None and name not in rules:
            raise InputError(
                f"step_rule={name!r} is unknown for {self.norm}; allowed: {', '.join(rules)}"
            )
        return name or next(iter(rules))

    def project(self, change: Tensor, images: Tensor) -> Tensor:
        """Return the nearest change inside the ball.

        What it leaves outside the box, clipping brings back without leaving the ball.
        """
        if self.norm == "linf":
            return change.clamp(-self.epsilon, self.epsilon)
        if self.norm == "l2":
            return change * (self.epsilon / _positive(length(change, "l2"))).clamp(max=1)
        return project_l1(change, images, self.epsilon)

    def moved(self, images: Tensor, change: Tensor) -> Tensor:
        """Return images with a change, or as near to it as the region allows."""
        return (images + self.project(change, images)).clamp_(0, 1)

    def random_point(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return a random point around each image; each image's depends on those before it alone.

        In L-inf it is uniform; in L2 on the sphere, where nearly all of the ball's volume is; in L1
        noise projected, which leaves it sparse. Without a generator torch's global one is used.
        """
        device = torch.device("cpu") if generator is None else generator.device
        shape = images.shape[1:]
        draws = [torch.rand(shape, generator=generator, device=device) for _ in images]
        noise = 2 * torch.stack(draws).to(images) - 1
        if self.norm == "l1":
            return self.moved(images, noise)
        reach = self.epsilon / (_positive(length(noise, "l2")) if self.norm == "l2" else 1)
        return (images + reach * noise).clamp_(0, 1)


def project_l1(change: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """Return the nearest point of the L1 ball inside the box: soft thresholding, cut at the box.

    Projecting on the ball first and clipping to the box afterwards would waste what is clipped
    (Croce & Hein 2021, arXiv:2103.01208, section 3). With sizes |d| and limits l set by the box,
    the nearest point is sign(d) min(max(|d| - t, 0), l). The threshold t, common to an image's
    values, is where the sizes sum to epsilon; it is found by bisection.
    """
    sizes = change.flatten(1).abs()
    limits = torch.where(change > 0, 1 - images, images).flatten(1)
    low = sizes.new_zeros(len(sizes), 1)
    high = sizes.amax(dim=1, keepdim=True)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = _thresholded(sizes, middle, limits).sum(dim=1, keepdim=True) > epsilon
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    inside = torch.minimum(sizes, limits).sum(dim=1, keepdim=True) <= epsilon
    return change.sign() * _thresholded(sizes, high.masked_fill(inside, 0), limits).view_as(change)


def _thresholded(sizes: Tensor, threshold: Tensor, limits: Tensor) -> Tensor:
    return (sizes - threshold).clamp_(min=0).minimum(limits)


def _positive(values: Tensor) -> Tensor:
    """Values with zeros replaced by the smallest normal number, to divide by."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)

"""Attacks in pixel space, by name: FGSM, PGD, APGD, Square.

All run in the one loop of `loop.py`, with the balls of `norms.py` and the averaged gradients of
`sampling.py`; what each does in a step is in `projected_descent.py`, `auto_pgd.py` and
`square_attack.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness.auto_pgd import APGD, SparseAPGD
from vonenet.robustness.checks import check_counts
from vonenet.robustness.loop import Method, Start, Stopping, run
from vonenet.robustness.losses import LOSSES
from vonenet.robustness.norms import Region
from vonenet.robustness.projected_descent import PGD
from vonenet.robustness.restarts import best_of
from vonenet.robustness.sampling import Sampler, decision_margin
from vonenet.robustness.square_attack import Square


class Options(TypedDict, total=False):
    """What all attacks take besides their own settings.

    Attributes:
        targets: (B,) wanted classes; without them an attack is untargeted.
        loss: A key of `vonenet.robustness.losses.LOSSES`; "ce" if not given.
        restarts: Runs in all, 1 if not given; those after the first start at random points of the
            ball. Of each image's results the one with the most wrong averaged decision is kept.
        stop_samples: If given, an image whose decision, averaged over this many noise draws, is
            wrong beyond doubt leaves early and gives its place to the next (`loop.Stopping`). 1
            for deterministic models, where this changes the time but not the accuracy.
        batch_size: Images at a time; all if not given.
        draws_seed: Optimise one fixed set of noise draws instead of fresh ones at every step.
        mixed_precision: Gradients in bfloat16; iterates and decisions stay in full precision.
        generator: Source of random starts and proposals, on the CPU; torch's global one if not
            given.
        progress: Show a progress bar over the steps.
    """

    targets: Tensor | None
    loss: str
    restarts: int
    stop_samples: int | None
    batch_size: int | None
    draws_seed: int | None
    mixed_precision: bool
    generator: torch.Generator | None
    progress: bool


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
    momentum: float = 0.0,
    **options: Unpack[Options],
) -> Tensor:
    """PGD, always inside the box [0, 1] and the ball.

    Args:
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        norm: "linf", "l2" or "l1".
        epsilon: Radius of the ball around each image, in pixel units (L-inf 1/255 is one grey
            level).
        steps: Number of gradient steps.
        step_size: Length of a step in the norm. Default: epsilon / 32 from 64 steps on, as in the
            VOneNet paper; 2.5 epsilon / steps for fewer, so that they still reach the border.
        gradient_samples: Noise draws that each gradient is averaged over; 1 for a deterministic
            model.
        random_start: Start at a random point of the ball instead of the image.
        momentum: Share of the earlier directions that is kept (Dong et al. 2018,
            arXiv:1710.06081, which uses 1); 0 is PGD.
        **options: See `Options`.

    Returns:
        The last iterate, (B, C, H, W).

    Raises:
        InputError: On an unknown norm or loss, a negative epsilon, counts below 1, or images
            outside [0, 1].
    """
    check_counts(steps=steps)
    region = Region(norm, epsilon)
    if step_size is None:
        step_size = default_step_size(epsilon, steps)

    def method(start: Start) -> PGD:
        return PGD(region, steps, step_size, momentum, start)

    return _attack(method, region, model, images, labels, gradient_samples, random_start, **options)


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    gradient_samples: int = 10,
    **options: Unpack[Options],
) -> Tensor:
    """One step of the whole radius along the gradient (Goodfellow et al. 2015, arXiv:1412.6572).

    Arguments, result and errors are those of `pgd`.
    """
    return pgd(
        model,
        images,
        labels,
        norm=norm,
        epsilon=epsilon,
        steps=1,
        step_size=epsilon,
        gradient_samples=gradient_samples,
        **options,
    )


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 100,
    gradient_samples: int = 10,
    random_start: bool = True,
    **options: Unpack[Options],
) -> Tensor:
    """APGD: no step size to choose; see `auto_pgd.py`. With `loss="dlr"`, APGD-DLR.

    Arguments and errors are those of `pgd`. There are `steps` + 1 gradients.

    Returns:
        The iterate with the most wrong decision, averaged over the gradient's own draws.
    """
    check_counts(steps=steps)
    region = Region(norm, epsilon)
    kind = SparseAPGD if norm == "l1" else APGD

    def method(start: Start) -> APGD | SparseAPGD:
        return kind(region, steps, start)

    return _attack(method, region, model, images, labels, gradient_samples, random_start, **options)


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    queries: int = 1000,
    decision_samples: int = 10,
    **options: Unpack[Options],
) -> Tensor:
    """Square: random search, which no masked gradient can mislead; see `square_attack.py`.

    Args:
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        norm: "linf", "l2" or "l1".
        epsilon: Radius in pixel units.
        queries: Proposals per image.
        decision_samples: Noise draws per query; 1 for a deterministic model. With more, give
            `draws_seed` too: among fresh draws a search keeps the luckiest, not the best.
        **options: See `Options`; the loss is the decision's margin unless another is named.

    Returns:
        The best proposal, (B, C, H, W).

    Raises:
        InputError: As `pgd`.
    """
    check_counts(queries=queries)
    region = Region(norm, epsilon)

    def method(_: Start) -> Square:
        return Square(region, queries, options.get("generator"))

    chosen: Options = {"loss": "margin", **options}
    return _attack(
        method, region, model, images, labels, decision_samples, False, gradients=False, **chosen
    )


def default_step_size(epsilon: float, steps: int) -> float:
    """The paper's epsilon / 32 for its 64 steps or more; 2.5 epsilon / steps for fewer."""
    return epsilon / 32 if steps >= 64 else 2.5 * epsilon / steps


def _attack(
    method: Callable[[Start], Method[Any]],
    region: Region,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    samples: int,
    random_start: bool,
    *,
    gradients: bool = True,
    targets: Tensor | None = None,
    loss: str = "ce",
    restarts: int = 1,
    stop_samples: int | None = None,
    batch_size: int | None = None,
    draws_seed: int | None = None,
    mixed_precision: bool = False,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> Tensor:
    """Runs a method, and again from random starts; keeps each image's most wrong result."""
    check_pixels(images)
    check_counts(samples=samples, restarts=restarts, batch_size=batch_size or len(images))
    stopping = _stopping(model, samples, stop_samples, draws_seed)
    if loss not in LOSSES:
        raise InputError(f"loss={loss!r} is unknown; allowed: {', '.join(LOSSES)}")
    sampler = Sampler(model, samples, LOSSES[loss], draws_seed, mixed_precision)
    goals = labels if targets is None else torch.stack([labels, targets], dim=1)
    randomly = partial(region.random_point, generator=generator)

    def attempt(number: int, chosen: Tensor) -> Tensor:
        made = method(randomly if number > 0 or random_start else _unchanged)
        return run(
            made,
            sampler if gradients else sampler.losses,
            images[chosen],
            goals[chosen],
            stopping=stopping,
            batch_size=batch_size,
            progress=_bar(made, region, number, restarts) if progress else None,
        )

    def judge(found: Tensor, chosen: Tensor) -> Tensor:
        return decision_margin(model, found, goals[chosen], stop_samples or samples)

    attempts = [partial(attempt, number) for number in range(restarts)]
    return best_of(attempts, judge, len(images), standing_only=stopping is not None)


def _bar(method: Method[Any], region: Region, number: int, restarts: int) -> str:
    run_of = f" {number + 1}/{restarts}" if restarts > 1 else ""
    return f"{type(method).__name__} {region.norm}{run_of}"


def _stopping(
    model: nn.Module, samples: int, stop_samples: int | None, draws_seed: int | None
) -> Stopping | None:
    if stop_samples is None:
        return None
    check_counts(stop_samples=stop_samples)
    if samples > 1 and stop_samples == 1:
        raise InputError(
            f"stop_samples=1 with {samples} noise draws per gradient would stop at one lucky "
            "decision; at least 2 for a stochastic model"
        )
    if draws_seed is not None and samples > 1:
        raise InputError(
            f"stop_samples={stop_samples} moves images within the batch, and the fixed draws of "
            f"draws_seed={draws_seed} belong to places; allowed: one of them"
        )
    return Stopping(model, stop_samples)


def _unchanged(images: Tensor) -> Tensor:
    return images

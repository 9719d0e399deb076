"""Gradient attacks in pixel space: PGD and FGSM; and what all attacks share: restarts, targets.

An attack is one visible loop over a whole batch. The balls and their steps are in `norms.py`; the
losses and the averaging over a model's noise are in `sampling.Objective`, which wraps the model.
APGD and Square are in files of their own, AutoAttack is in `suites.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vonenet.data.dataset import check_pixels
from vonenet.errors import InputError
from vonenet.robustness.norms import STEPS, Region
from vonenet.robustness.sampling import LOSSES, Objective, averaged_probabilities, decision_margin

# One run of an attack: (objective, images, where it starts) -> adversarial images
Run: TypeAlias = Callable[[Objective, Tensor, Tensor], Tensor]


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    steps: int = 64,
    step_size: float | None = None,
    step_rule: str | None = None,
    gradient_samples: int = 10,
    random_start: bool = False,
    **options: Any,
) -> Tensor:
    """Attack by projected gradient descent (Madry et al. 2018, arXiv:1706.06083).

    Args:
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        norm: "linf", "l2" or "l1".
        epsilon: Radius of the ball around each image, in pixel units (L-inf 1/255 is one grey
            level). Iterates stay in this ball and in the box [0, 1].
        steps: Number of gradient steps.
        step_size: Length of a step in the norm. Default: epsilon / 32 from 64 steps on, as in the
            VOneNet paper; 2.5 epsilon / steps for fewer, so that they still reach the border.
        step_rule: Of L1 "sparse", the default, along the steepest 1 % of the values; or "dense",
            along the whole gradient, as in the VOneNet paper, which is weaker. L-inf knows only
            "sign" and L2 only "normalized".
        gradient_samples: Noise draws that each gradient is averaged over; 1 for a deterministic
            model.
        random_start: Start at a random point of the ball instead of the image.
        **options: Those of `most_damaging`: targets, loss, restarts, early stopping, ...

    Returns:
        The last iterate, (B, C, H, W).

    Raises:
        InputError: On an unknown norm, step rule or loss, a negative epsilon, counts below 1, or
            images outside [0, 1].
    """
    check_counts(steps=steps)
    region = Region(norm, epsilon)
    direction_of = STEPS[norm][region.step_rule(step_rule)]
    if step_size is None:
        step_size = default_step_size(epsilon, steps)

    def run(objective: Objective, images: Tensor, start: Tensor) -> Tensor:
        adversarial = start
        standing = torch.ones(len(images), dtype=torch.bool, device=images.device)
        for _ in range(steps):
            estimate = objective.estimate(adversarial, standing)
            standing = objective.still_standing(adversarial, estimate, standing)
            if objective.stop_samples is not None and not standing.any():
                break
            gradient = estimate.gradient.nan_to_num_(nan=0.0)
            change = adversarial - images + step_size * direction_of(gradient, adversarial)
            adversarial = torch.where(each(standing), region.moved(images, change), adversarial)
        return adversarial

    return most_damaging(
        run, region, model, images, labels, gradient_samples, random_start, **options
    )


def fgsm(
    model: nn.Module, images: Tensor, labels: Tensor, *, norm: str, epsilon: float, **settings: Any
) -> Tensor:
    """Take one step of the whole radius along the gradient (Goodfellow 2015, arXiv:1412.6572).

    Arguments, result and errors are those of `pgd`.
    """
    return pgd(
        model, images, labels, norm=norm, epsilon=epsilon, steps=1, step_size=epsilon, **settings
    )


def default_step_size(epsilon: float, steps: int) -> float:
    """Return the paper's epsilon / 32 for its 64 steps or more; 2.5 epsilon / steps for fewer."""
    return epsilon / 32 if steps >= 64 else 2.5 * epsilon / steps


def each(values: Tensor) -> Tensor:
    """Return one value per image, (B,), in a shape that goes with images, (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def check_counts(**counts: int) -> None:
    """Refuse counts below 1.

    Raises:
        InputError: Naming the first of them.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name}={count} is too few; at least 1")


def most_damaging(
    run: Run,
    region: Region,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    samples: int,
    random_start: bool = False,
    *,
    targets: Tensor | None = None,
    target_classes: int = 0,
    loss: str = "ce",
    restarts: int = 1,
    stop_samples: int | None = None,
    draws_seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run an attack once or several times; return each image's result with the worst decision.

    Args:
        run: One run of the attack, inside `region`.
        region: Where it may go.
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        samples: Noise draws per estimate.
        random_start: Start the first run, too, at a random point of the ball.
        targets: (B,) classes to reach; without them an attack is untargeted.
        target_classes: Attack toward each of so many wrong classes, the likeliest first. The run
            with the most wrong decision counts. 0: untargeted, or toward `targets`.
        loss: A key of `vonenet.robustness.sampling.LOSSES`.
        restarts: Runs in all; those after the first start at random points of the ball. Of each
            image's results the one with the most wrong averaged decision counts.
        stop_samples: If given, an image stops being attacked once its averaged decision is wrong
            and this many fresh noise draws are all wrong too. 1 for deterministic models, where
            this changes the time but not the accuracy. On a stochastic model it saves time at a
            price: such images stay nearer to the decision boundary than all steps would take them,
            and accuracy over single draws reads higher, by up to about 1 / `stop_samples`. Take 20
            or more; take None for numbers to be published.
        draws_seed: Optimize one fixed set of noise draws instead of fresh ones at every step.
        generator: Source of random starts and proposals; torch's global one, on the CPU, if None.

    Returns:
        (B, C, H, W).

    Raises:
        InputError: On an unknown loss, counts below 1, settings of early stopping that do not go
            together, or images outside [0, 1].
    """
    check_pixels(images)
    check_counts(samples=samples, restarts=restarts)
    if loss not in LOSSES:
        raise InputError(f"loss={loss!r} is unknown; allowed: {', '.join(LOSSES)}")
    if stop_samples is not None:
        check_counts(stop_samples=stop_samples)
        if samples > 1 and stop_samples == 1:
            raise InputError(
                f"stop_samples=1 with {samples} noise draws per gradient would stop at one lucky "
                "decision; at least 2 for a stochastic model"
            )
        if samples > 1 and draws_seed is not None:
            raise InputError(
                f"stop_samples={stop_samples} takes images out of the batch, and the fixed draws "
                f"of draws_seed={draws_seed} belong to places; allowed: one of them"
            )
    objective = Objective(model, labels, targets, samples, LOSSES[loss], draws_seed, stop_samples)
    judged = stop_samples or samples
    tried: list[Tensor | None] = [targets]
    if target_classes:
        probabilities = averaged_probabilities(model, images, judged)
        wrong = probabilities.scatter(1, labels[:, None], -1.0)  # the most probable come first
        tried = list(wrong.topk(min(target_classes, wrong.shape[1] - 1)).indices.unbind(dim=1))
    best = images.clone()
    margins = torch.full_like(images[:, 0, 0, 0], torch.inf)
    rows: Tensor | slice = slice(None)
    for number in range(restarts * len(tried)):
        if stop_samples is not None and number > 0:  # only images that still stand need another run
            rows = margins >= 0
            if not rows.any():
                break
        aim = replace(objective, targets=tried[number // restarts]).select(rows)
        at_random = random_start or number % restarts > 0
        start = region.random_point(images[rows], generator) if at_random else images[rows].clone()
        found = run(aim, images[rows], start)
        if restarts * len(tried) == 1:
            return found
        wanted = None if targets is None else targets[rows]
        found_margins = decision_margin(model, found, labels[rows], judged, wanted)
        worse = ~(found_margins >= margins[rows])  # so that a NaN is not hidden
        best[rows] = torch.where(each(worse), found, best[rows])
        margins[rows] = torch.minimum(found_margins, margins[rows])
    return best

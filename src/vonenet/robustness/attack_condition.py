"""The condition of being attacked: which attack, how strong, how its row describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.results import Value
from vonenet.robustness.attacks import (
    apgd,
    default_step_size,
    fgsm,
    pgd,
    square,
)
from vonenet.robustness.autoattack import autoattack
from vonenet.robustness.checks import check_counts
from vonenet.robustness.conditions import Condition
from vonenet.robustness.norms import Region
from vonenet.robustness.restarts import best_of
from vonenet.robustness.sampling import averaged_probabilities, decision_margin

METHODS: Mapping[str, Callable[..., Tensor]] = {
    "pgd": pgd,
    "fgsm": fgsm,
    "apgd": apgd,
    "apgd-dlr": partial(apgd, loss="dlr"),
    "square": square,
    "autoattack": autoattack,
}
# About how many passes per image AutoAttack makes, forward and backward counted apart: two runs of
# APGD with 101 gradients of 20 draws; APGD, 9 targets of APGD and of FAB, and Square's queries.
AUTOATTACK_PASSES = {"rand": 2 * 2 * 101 * 20, "standard": 2 * 101 * (1 + 9 + 9) + 5000}


@dataclass(frozen=True)
class Attack(Condition):
    """An attack that knows the model (see `vonenet.robustness.attacks`).

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilon: Radius in pixel units.
        steps: Gradient steps; 64 in the VOneNet paper. Queries of Square; FGSM takes one and
            AutoAttack its own number.
        gradient_samples: Noise draws per gradient, or per query of Square; 10 in the paper's
            protocol. A deterministic model is attacked, and its row written, with 1.
        method: "pgd" (without random start, as in the paper), "fgsm", "apgd", "apgd-dlr", "square"
            or "autoattack".
        restarts: Runs in all, those after the first from random points. Not of AutoAttack.
        target_classes: 0 for an untargeted attack. Otherwise the attack is run toward each of so
            many wrong classes, the likeliest first, and the most damaging run counts. Not of
            AutoAttack.
        momentum: Of PGD.
        stop_samples: Noise draws of the decisions that stop an image early; None: never. A
            deterministic model needs 1. Not of Square, whose draws are fixed.
        fixed_draws: Optimise one fixed set of noise draws, not fresh ones at every step. Square
            always does.
        mixed_precision: Gradients in bfloat16.
        published_epsilon: The radius for images of 224 px that `epsilon` was scaled from, if it
            was; for the row alone.
        batch_size: Images at a time, of those that one call of `perturb` is given; all if None.

    Raises:
        InputError: On an unknown norm or method, or an impossible number.
    """

    norm: str
    epsilon: float
    steps: int = 64
    gradient_samples: int = 10
    method: str = "pgd"
    restarts: int = 1
    target_classes: int = 0
    momentum: float = 0.0
    stop_samples: int | None = None
    fixed_draws: bool = False
    mixed_precision: bool = False
    published_epsilon: float | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        Region(self.norm, self.epsilon)
        check_counts(
            steps=self.steps, gradient_samples=self.gradient_samples, restarts=self.restarts
        )
        if self.method not in METHODS:
            raise InputError(f"method={self.method!r} is unknown; allowed: {', '.join(METHODS)}")
        if self.target_classes < 0:
            raise InputError(f"target_classes={self.target_classes} is too few; at least 0")

    @property
    def label(self) -> str:
        """Norm and radius, L-inf radii in grey levels; the method where it is not PGD."""
        radius = f"{self.epsilon * 255:.3g}/255" if self.norm == "linf" else f"{self.epsilon:g}"
        method = "" if self.method == "pgd" else f"{self.method} "
        return f"{method}{self.norm} {radius}"

    @property
    def passes(self) -> int:
        """Forward and backward per step and sample, and one decision; at most, if it may stop."""
        if self.method == "autoattack":
            return AUTOATTACK_PASSES["rand" if self.gradient_samples > 1 else "standard"] + 1
        per_sample = {"square": self.steps, "fgsm": 2}.get(self.method, 2 * self.steps)
        return per_sample * self.gradient_samples * self.restarts * max(1, self.target_classes) + 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Every setting that is at work: those of plain PGD, and others that are not default."""
        columns: dict[str, Value] = {
            "attack": self.method,
            "norm": self.norm,
            "epsilon": self.epsilon,
        }
        if self.method in ("pgd", "apgd", "apgd-dlr", "square"):
            columns["steps"] = self.steps
        if self.method == "pgd":
            columns["step_size"] = default_step_size(self.epsilon, self.steps)
        columns["gradient_samples"] = self.gradient_samples
        for field in fields(self)[5:-1]:  # after `method`; the batch size is in no row
            value = getattr(self, field.name)
            if value != field.default:
                columns[field.name] = value
        return columns

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns adversarial images."""
        attack = partial(
            METHODS[self.method],
            model,
            norm=self.norm,
            epsilon=self.epsilon,
            batch_size=self.batch_size,
            **self._own_settings(seed + first_index),
        )
        if not self.target_classes:
            return attack(pixels, labels)
        return self._toward_each(attack, model, pixels, labels)

    def for_deterministic_model(self) -> Self:
        """The same attack with one gradient per step: all samples would be equal."""
        stop_samples = None if self.stop_samples is None else 1
        return replace(self, gradient_samples=1, stop_samples=stop_samples, fixed_draws=False)

    def _own_settings(self, seed: int) -> dict[str, Any]:
        """What this method takes besides norm, radius and batch size."""
        if self.method == "autoattack":
            return {"stochastic": self.gradient_samples > 1, "seed": seed}
        shared = {
            "restarts": self.restarts,
            "stop_samples": self.stop_samples,
            "mixed_precision": self.mixed_precision,
            "generator": torch.Generator().manual_seed(seed),
            "draws_seed": seed if self.fixed_draws else None,
        }
        samples = {"gradient_samples": self.gradient_samples}
        match self.method:
            case "pgd":
                return {**shared, **samples, "steps": self.steps, "momentum": self.momentum}
            case "fgsm":
                return {**shared, **samples}
            case "square":
                fixed = {"draws_seed": seed} if self.gradient_samples > 1 else {}
                query = {"queries": self.steps, "decision_samples": self.gradient_samples}
                return {**shared, **query, **fixed}
            case _:
                return {**shared, **samples, "steps": self.steps}

    def _toward_each(
        self, attack: Callable[..., Tensor], model: nn.Module, pixels: Tensor, labels: Tensor
    ) -> Tensor:
        """The most damaging of the attacks toward each of the likeliest wrong classes."""
        samples = self.stop_samples or self.gradient_samples
        probabilities = averaged_probabilities(model, pixels, samples)
        wrong = probabilities.scatter(1, labels[:, None], -1.0)
        count = min(self.target_classes, wrong.shape[1] - 1)

        def attempt(targets: Tensor, chosen: Tensor) -> Tensor:
            return attack(pixels[chosen], labels[chosen], targets=targets[chosen])

        def judge(found: Tensor, chosen: Tensor) -> Tensor:
            return decision_margin(model, found, labels[chosen], samples)

        attempts = [partial(attempt, each) for each in wrong.topk(count).indices.unbind(dim=1)]
        return best_of(attempts, judge, len(pixels), standing_only=self.stop_samples is not None)

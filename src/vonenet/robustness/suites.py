"""The condition of being attacked, and suites of attacks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod, sqrt
from typing import Any, Self

import torch
from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.results import Value
from vonenet.robustness.apgd import apgd
from vonenet.robustness.attacks import default_step_size, fgsm, pgd
from vonenet.robustness.autoattack import autoattack
from vonenet.robustness.conditions import Condition
from vonenet.robustness.norms import Region
from vonenet.robustness.preparation import check_counts
from vonenet.robustness.square import square

METHODS: Mapping[str, Callable[..., Tensor]] = {
    "pgd": pgd,
    "fgsm": fgsm,
    "apgd": apgd,
    "apgd-dlr": partial(apgd, loss="dlr"),
    "square": square,
    "autoattack": autoattack,
}
# Settings that every attack takes, AutoAttack apart, and those that some take
SHARED = ("norm", "epsilon", "restarts", "target_classes", "stop_samples", "mixed_precision")
OWN = {
    "pgd": ("steps", "gradient_samples", "step_rule", "momentum"),
    "fgsm": ("gradient_samples", "step_rule"),
    "apgd": ("steps", "gradient_samples"),
    "apgd-dlr": ("steps", "gradient_samples"),
    "square": (),
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
        restarts: This, `target_classes`, `stop_samples` and `mixed_precision` are as in
            `vonenet.robustness.attacks.Options`, and not of AutoAttack.
        target_classes: 0 for an untargeted attack.
        momentum: Of PGD.
        stop_samples: Early stopping; on a stochastic model accuracy then reads a little high. Not
            of Square, whose draws are fixed.
        fixed_draws: Optimize one fixed set of noise draws, not fresh ones at every step. Square
            always does.
        mixed_precision: Gradients in bfloat16.
        step_rule: Of PGD and FGSM in L1: "sparse", the default, or "dense", as in the paper.
        published_epsilon: The radius for images of 224 px that `epsilon` was scaled from, if it
            was; for the row alone.

    Raises:
        InputError: On an unknown norm, method or step rule, or an impossible number.
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
    step_rule: str | None = None
    published_epsilon: float | None = None

    def __post_init__(self) -> None:
        Region(self.norm, self.epsilon).step_rule(self.step_rule)
        check_counts(
            steps=self.steps, gradient_samples=self.gradient_samples, restarts=self.restarts
        )
        if self.method not in METHODS:
            raise InputError(f"method={self.method!r} is unknown; allowed: {', '.join(METHODS)}")
        if self.step_rule is not None and self.method not in ("pgd", "fgsm"):
            raise InputError(f"step_rule={self.step_rule!r} is of pgd and fgsm, not {self.method}")
        if self.target_classes < 0:
            raise InputError(f"target_classes={self.target_classes} is too few; at least 0")

    @property
    def label(self) -> str:
        """Norm and radius, L-inf radii in grey levels; method and step rule where not PGD's."""
        radius = f"{self.epsilon * 255:.3g}/255" if self.norm == "linf" else f"{self.epsilon:g}"
        method = "" if self.method == "pgd" else f"{self.method} "
        rule = "" if self.step_rule is None else f" {self.step_rule}"
        return f"{method}{self.norm} {radius}{rule}"

    @property
    def passes(self) -> int:
        """Forward and backward per step and draw, and one decision; at most, if it may stop."""
        if self.method == "autoattack":
            return AUTOATTACK_PASSES["rand" if self.gradient_samples > 1 else "standard"] + 1
        per_sample = {"square": self.steps, "fgsm": 2}.get(self.method, 2 * self.steps)
        return per_sample * self.gradient_samples * self.restarts * max(1, self.target_classes) + 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Return every setting that is at work: those of plain PGD, and others not default."""
        columns: dict[str, Value] = {
            "attack": self.method,
            "norm": self.norm,
            "epsilon": self.epsilon,
        }
        if self.method not in ("fgsm", "autoattack"):
            columns["steps"] = self.steps
        if self.method == "pgd":
            columns["step_size"] = default_step_size(self.epsilon, self.steps)
        if self.method not in ("square", "autoattack"):
            columns["step_rule"] = Region(self.norm, self.epsilon).step_rule(self.step_rule)
        columns["gradient_samples"] = self.gradient_samples
        optional: dict[str, Value | None] = {
            "restarts": self.restarts if self.restarts != 1 else None,
            "target_classes": self.target_classes or None,
            "momentum": self.momentum or None,
            "stop_samples": self.stop_samples,
            # Rows before this rule stopped at the decision boundary.
            "stop_rule": "unanimous" if (self.stop_samples or 1) > 1 else None,
            "fixed_draws": self.fixed_draws or None,
            "mixed_precision": self.mixed_precision or None,
            "published_epsilon": self.published_epsilon,
        }
        return columns | {name: value for name, value in optional.items() if value is not None}

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Return adversarial images."""
        seed += first_index
        if self.method == "autoattack":
            return autoattack(
                model,
                pixels,
                labels,
                norm=self.norm,
                epsilon=self.epsilon,
                stochastic=self.gradient_samples > 1,
                seed=seed,
            )
        settings: dict[str, Any] = {name: getattr(self, name) for name in SHARED}
        settings |= {name: getattr(self, name) for name in OWN[self.method]}
        fixed_draws = self.fixed_draws
        if self.method == "square":
            settings |= {"queries": self.steps, "decision_samples": self.gradient_samples}
            fixed_draws = self.gradient_samples > 1
        settings["draws_seed"] = seed if fixed_draws else None
        settings["generator"] = torch.Generator().manual_seed(seed)
        return METHODS[self.method](model, pixels, labels, **settings)

    def for_deterministic_model(self) -> Self:
        """Return the same attack with one gradient per step: all draws would be equal."""
        stop_samples = None if self.stop_samples is None else 1
        return replace(self, gradient_samples=1, stop_samples=stop_samples, fixed_draws=False)


# Dapello, Marques et al. 2020 (NeurIPS): untargeted PGD without random start, 64 steps of
# epsilon / 32, gradients averaged over 10 noise draws. The L1 step of their toolbox is dense.
PAPER = (
    Attack("linf", 1 / 1020),
    Attack("linf", 1 / 255),
    Attack("l2", 0.15),
    Attack("l2", 0.6),
    Attack("l1", 40.0, step_rule="dense"),
    Attack("l1", 160.0, step_rule="dense"),
)
# Piper et al. 2025 (arXiv:2506.03089): two steps further on the same grids of powers of 4.
EVNETS = (
    *PAPER,
    Attack("linf", 4 / 255),
    Attack("linf", 16 / 255),
    Attack("l2", 2.4),
    Attack("l2", 9.6),
    Attack("l1", 640.0, step_rule="dense"),
    Attack("l1", 2560.0, step_rule="dense"),
)
# One attack of each norm at the paper's larger radius, by the stronger step rule of L1: an upper
# bound of accuracy in little time.
QUICK = tuple(
    replace(attack, steps=10, gradient_samples=4, step_rule=None) for attack in PAPER[1::2]
)
# Beside the PGD of the paper: stronger step rules, and a search that needs no gradient.
STRONGER = (
    Attack("linf", 1 / 255, method="apgd"),
    Attack("linf", 1 / 255, method="apgd-dlr"),
    Attack("linf", 1 / 255, method="square", steps=500),
    Attack("l1", 160.0, step_rule="sparse"),
)

SUITES: Mapping[str, tuple[Attack, ...]] = {
    "paper": PAPER,
    "evnets": EVNETS,
    "quick": QUICK,
    "stronger": STRONGER,
}
# The size that the radii were published for, height and width in pixels.
PUBLISHED_SIZE = (224, 224)


def attack_suite(name: str, image_size: tuple[int, int] | None = None) -> list[Attack]:
    """Return the attacks of a suite.

    Args:
        name: A key of `SUITES`.
        image_size: Height and width in pixels. If given, radii are scaled to it, so that a pixel
            moves as far on average as at 224 px: L1 with the number of pixels, L2 with its root,
            L-inf not at all. If None, radii are the published ones.

    Raises:
        InputError: On an unknown name or an impossible size.
    """
    if name not in SUITES:
        raise InputError(f"suite {name!r} is unknown; allowed: {', '.join(SUITES)}")
    if image_size is None:
        return list(SUITES[name])
    attacks = []
    for attack in SUITES[name]:
        scale = radius_scale(attack.norm, image_size)
        if scale != 1:
            published = attack.epsilon
            attack = replace(attack, epsilon=scale * published, published_epsilon=published)
        attacks.append(attack)
    return attacks


def radius_scale(norm: str, image_size: tuple[int, int]) -> float:
    """Return what a radius for images of 224 px is multiplied by for images of this size.

    Raises:
        InputError: On an impossible size.
    """
    if min(image_size) < 1:
        raise InputError(f"image_size={image_size} has no pixels; allowed: 1 or more a side")
    pixels = prod(image_size) / prod(PUBLISHED_SIZE)
    return {"linf": 1.0, "l2": sqrt(pixels), "l1": pixels}[norm]

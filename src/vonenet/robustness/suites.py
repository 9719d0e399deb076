"""The condition of being attacked, suites of attacks by name, and AutoAttack of another package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from math import prod, sqrt
from typing import Any, Self

import torch
from torch import Tensor, nn

from vonenet.data.dataset import check_pixels
from vonenet.data.seeding import seeded
from vonenet.errors import InputError
from vonenet.results import Value
from vonenet.robustness.apgd import apgd
from vonenet.robustness.attacks import check_counts, default_step_size, fgsm, pgd
from vonenet.robustness.conditions import Condition
from vonenet.robustness.norms import Region
from vonenet.robustness.square import square

# Wrong classes that the targeted attacks of AutoAttack's standard version try, by norm
TARGET_CLASSES = {"linf": 9, "l2": 9, "l1": 5}
FEWEST_CLASSES = {"rand": 3, "standard": 4}
# About how many passes per image it makes, forward and backward counted apart: two runs of APGD
# with 101 gradients of 20 draws; APGD, 9 targets of APGD and of FAB, and Square's queries.
AUTOATTACK_PASSES = {"rand": 2 * 2 * 101 * 20, "standard": 2 * 101 * (1 + 9 + 9) + 5000}


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    stochastic: bool,
    seed: int = 0,
) -> Tensor:
    """Attack by AutoAttack of the package `pyautoattack` (Croce & Hein 2020, arXiv:2003.01690).

    These are APGD, FAB and Square in its standard order. Stochastic models get its `rand` version:
    APGD with cross-entropy and DLR, 20 draws per gradient. Its own success test looks at one draw;
    what counts here is the decision that is averaged afterwards over the images it returns, where
    one that withstood is as it was. Arguments are as of `pgd`; the seed is of its random starts and
    of the model's noise meanwhile.

    Raises:
        InputError: If `pyautoattack` is not installed, or there are fewer than 4 classes (3 for
            the `rand` version).
    """
    try:
        package = import_module("pyautoattack")
    except ImportError as error:
        raise InputError(
            "AutoAttack needs the package pyautoattack; install vonenet[autoattack]"
        ) from error
    Region(norm, epsilon)
    check_pixels(images)
    version = "rand" if stochastic else "standard"
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    if classes < FEWEST_CLASSES[version]:
        raise InputError(
            f"AutoAttack's {version} version needs {FEWEST_CLASSES[version]} or more classes; "
            f"the model has {classes}"
        )
    settings = {"norm": norm.capitalize(), "eps": epsilon, "version": version, "seed": seed}
    with seeded(seed, images.device):  # it seeds torch's global generators
        attack = package.AutoAttack(model, **settings, device=images.device)
        # Its 9 wrong classes are more than a model of few classes has.
        targets = min(TARGET_CLASSES[norm], classes - 1)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    adversarial: Tensor = found.detach()
    return adversarial


METHODS: Mapping[str, Callable[..., Tensor]] = {
    "pgd": pgd,
    "fgsm": fgsm,
    "apgd": apgd,
    "apgd-dlr": partial(apgd, loss="dlr"),
    "square": square,
    "autoattack": autoattack,
}
# Settings that every attack takes, AutoAttack apart, and those that some take
SHARED = ("norm", "epsilon", "restarts", "target_classes", "stop_samples")
OWN = {
    "pgd": ("steps", "gradient_samples", "step_rule"),
    "fgsm": ("gradient_samples", "step_rule"),
    "apgd": ("steps", "gradient_samples"),
    "apgd-dlr": ("steps", "gradient_samples"),
    "square": (),
}
# Settings that a row names where they are not the default
NAMED = ("restarts", "target_classes", "stop_samples", "published_epsilon")


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
        restarts: This, `target_classes` and `stop_samples` are as in
            `vonenet.robustness.attacks.most_damaging`, and not of AutoAttack.
        target_classes: 0 for an untargeted attack.
        stop_samples: Early stopping; on a stochastic model accuracy then reads a little high. Not
            of Square, whose draws are fixed.
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
    stop_samples: int | None = None
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
        columns: dict[str, Value]
        columns = {"attack": self.method, "norm": self.norm, "epsilon": self.epsilon}
        if self.method not in ("fgsm", "autoattack"):
            columns["steps"] = self.steps
        if self.method == "pgd":
            columns["step_size"] = default_step_size(self.epsilon, self.steps)
        if self.method not in ("square", "autoattack"):
            columns["step_rule"] = Region(self.norm, self.epsilon).step_rule(self.step_rule)
        columns["gradient_samples"] = self.gradient_samples
        for name in NAMED:
            if getattr(self, name) != getattr(Attack, name):
                columns[name] = getattr(self, name)
        if (self.stop_samples or 1) > 1:  # rows before this rule stopped at the decision boundary
            columns["stop_rule"] = "unanimous"
        return columns

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Return adversarial images."""
        seed += first_index
        stochastic = self.gradient_samples > 1
        settings: dict[str, Any]
        if self.method == "autoattack":
            settings = {"norm": self.norm, "epsilon": self.epsilon, "stochastic": stochastic}
            return METHODS[self.method](model, pixels, labels, **settings, seed=seed)
        names = SHARED + OWN[self.method]
        settings = {name: getattr(self, name) for name in names}
        if self.method == "square":  # among fresh draws it would keep the luckiest proposal
            settings |= {"queries": self.steps, "decision_samples": self.gradient_samples}
            settings["draws_seed"] = seed if stochastic else None
        settings["generator"] = torch.Generator().manual_seed(seed)
        return METHODS[self.method](model, pixels, labels, **settings)

    def for_deterministic_model(self) -> Self:
        """Return the same attack with one gradient per step: all draws would be equal."""
        stop_samples = None if self.stop_samples is None else 1
        return replace(self, gradient_samples=1, stop_samples=stop_samples)


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
EVNETS = (*PAPER, *(replace(attack, epsilon=16 * attack.epsilon) for attack in PAPER))
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
    attacks = []
    for attack in SUITES[name]:
        scale = 1.0 if image_size is None else radius_scale(attack.norm, image_size)
        if scale != 1:
            published = attack.epsilon
            attack = replace(attack, epsilon=scale * published, published_epsilon=published)
        attacks.append(attack)
    return attacks


def radius_scale(norm: str, image_size: tuple[int, int]) -> float:
    """Return what a radius published for 224 px is multiplied by for images of this size.

    Raises:
        InputError: On an impossible size.
    """
    if min(image_size) < 1:
        raise InputError(f"image_size={image_size} has no pixels; allowed: 1 or more a side")
    pixels = prod(image_size) / 224**2
    return {"linf": 1.0, "l2": sqrt(pixels), "l1": pixels}[norm]

"""The conditions that a model is measured under: clean, corrupted, attacked."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from vonenet.results import Value
from vonenet.robustness.attacks import check_attack, default_step_size, pgd
from vonenet.robustness.corruptions import CORRUPTIONS, check_corruption, constants_size, corrupt


class Condition(ABC):
    """Something done to the images before the model decides."""

    @property
    @abstractmethod
    def label(self) -> str:
        """A few words for bars and tables, e.g. "contrast 3" or "linf 4/255"."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Forward and backward passes per image, the decision's included; for remaining time."""

    @abstractmethod
    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """What a result row says of the condition, for images of this height and width."""

    @abstractmethod
    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns what the model is shown instead of `pixels`.

        Args:
            model: Takes pixels; in eval mode.
            pixels: (B, C, H, W) in [0, 1].
            labels: (B,) true classes.
            seed: Seed of the measurement.
            first_index: Index in the data of the batch's first image.
        """

    def for_deterministic_model(self) -> Self:
        """The same condition without samples of a noise that is not there."""
        return self


@dataclass(frozen=True)
class Clean(Condition):
    """The images as they are."""

    @property
    def label(self) -> str:
        """A few words for bars and tables."""
        return "clean"

    @property
    def passes(self) -> int:
        """One decision."""
        return 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """No column: no attack, no corruption."""
        return {}

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns the images as they are."""
        return pixels


@dataclass(frozen=True)
class Corruption(Condition):
    """A common corruption, with the constants published for the images' size.

    Attributes:
        name: A key of `vonenet.robustness.CORRUPTIONS`.
        severity: 1 to 5.
    """

    name: str
    severity: int

    def __post_init__(self) -> None:
        check_corruption(self.name, self.severity)

    @property
    def label(self) -> str:
        """Name and severity."""
        return f"{self.name} {self.severity}"

    @property
    def passes(self) -> int:
        """One decision."""
        return 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """The corruption, and which published constants were used."""
        constants_px = constants_size(image_size)
        return {
            "corruption": self.name,
            "category": CORRUPTIONS[self.name].category,
            "severity": self.severity,
            "constants_px": constants_px,
        }

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns corrupted images."""
        return corrupt(pixels, self.name, self.severity, seed=seed, first_index=first_index)


@dataclass(frozen=True)
class Attack(Condition):
    """Untargeted white-box PGD (see `vonenet.robustness.pgd`), without random start.

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilon: Radius in pixel units.
        steps: Gradient steps; 64 in the VOneNet paper.
        gradient_samples: Noise draws per gradient; 10 in the paper's protocol. A deterministic
            model is attacked, and its row written, with 1.
    """

    norm: str
    epsilon: float
    steps: int = 64
    gradient_samples: int = 10

    def __post_init__(self) -> None:
        check_attack(self.norm, self.epsilon, self.steps, self.gradient_samples)

    @property
    def label(self) -> str:
        """Norm and radius, L-inf radii in grey levels."""
        radius = f"{self.epsilon * 255:.3g}/255" if self.norm == "linf" else f"{self.epsilon:g}"
        return f"{self.norm} {radius}"

    @property
    def passes(self) -> int:
        """Forward and backward per step and sample, and one decision."""
        return 2 * self.steps * self.gradient_samples + 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Every setting of the attack."""
        return {
            "attack": "pgd",
            "norm": self.norm,
            "epsilon": self.epsilon,
            "steps": self.steps,
            "step_size": default_step_size(self.epsilon, self.steps),
            "gradient_samples": self.gradient_samples,
        }

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns adversarial images."""
        return pgd(
            model,
            pixels,
            labels,
            norm=self.norm,
            epsilon=self.epsilon,
            steps=self.steps,
            gradient_samples=self.gradient_samples,
        )

    def for_deterministic_model(self) -> Self:
        """The same attack with one gradient per step: all samples would be equal."""
        return replace(self, gradient_samples=1)

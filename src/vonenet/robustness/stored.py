"""Accuracy on stored benchmarks (ImageNet-C, CIFAR-10-C), in rows like the computed ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vonenet.data.sources import find_stored_corruption, open_stored_corruption
from vonenet.errors import InputError
from vonenet.results import Result, Value
from vonenet.robustness.conditions import Condition
from vonenet.robustness.corruptions import CORRUPTIONS, constants_size, corruption_type
from vonenet.robustness.evaluate import evaluate

IMAGENET_C = tuple(name for name, kind in CORRUPTIONS.items() if kind.category != "extra")


@dataclass(frozen=True)
class StoredCorruption(Condition):
    """Images that were corrupted before they were stored.

    Attributes:
        name: A key of `vonenet.robustness.CORRUPTIONS`.
        severity: 1 to 5.
    """

    name: str
    severity: int

    def __post_init__(self) -> None:
        corruption_type(self.name, self.severity)

    @property
    def label(self) -> str:
        """Name and severity."""
        return f"stored {self.name} {self.severity}"

    @property
    def passes(self) -> int:
        """One decision."""
        return 1

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """The corruption, its published constants, and that it was stored."""
        return {
            "corruption": self.name,
            "category": corruption_type(self.name, self.severity).category,
            "severity": self.severity,
            "constants_px": constants_size(image_size),
            "source": "stored",
        }

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Returns the images as they are."""
        return pixels


def evaluate_stored(
    model: nn.Module,
    root: Path | str,
    *,
    names: Sequence[str] = IMAGENET_C,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    in_chans: int = 3,
    **settings: Any,
) -> list[Result]:
    """Measures a model's accuracy on a stored benchmark.

    Args:
        model: As for `evaluate`.
        root: The benchmark's folder (see `open_stored_corruption`).
        names: Corruptions, by default the 15 of ImageNet-C's mean.
        severities: Severities of each.
        in_chans: 1 (grey) or 3 (RGB).
        **settings: Further arguments of `evaluate`, such as `experiment` and `model_name`.

    Returns:
        One row per corruption and severity.

    Raises:
        InputError: If a corruption is unknown or not in the folder.
    """
    if not names or not severities:
        raise InputError("no corruption or no severity was asked for; at least one of each")
    conditions = [StoredCorruption(name, severity) for name in names for severity in severities]
    for condition in conditions:  # before hours of work, not after
        find_stored_corruption(root, condition.name, condition.severity)
    rows = []
    for condition in conditions:
        dataset = open_stored_corruption(
            root, condition.name, condition.severity, in_chans=in_chans
        )
        rows += evaluate(model, dataset, [condition], **settings)
    return rows

"""The conditions that a model is measured under; being attacked is in suites.py."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from vonenet.results import Value
from vonenet.robustness.corruptions import constants_size, corrupt, corruption_type
from vonenet.robustness.corruptions.weather import FROST_FILES, find_frost


class Condition(ABC):
    """Something done to the images before the model decides."""

    @property
    @abstractmethod
    def label(self) -> str:
        """A few words for bars and tables, e.g. "contrast 3" or "linf 4/255"."""

    @property
    def passes(self) -> int:
        """Forward and backward passes per image, the decision's included; for remaining time."""
        return 1

    @abstractmethod
    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Return what a result row says of the condition, for images of this height and width."""

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Return what the model, in eval mode, is shown instead of pixels (B, C, H, W) in [0, 1].

        Here, the pixels themselves. The seed is that of the measurement, `first_index` the index in
        the data of the batch's first image.
        """
        return pixels

    def for_deterministic_model(self) -> Self:
        """Return the same condition without draws of a noise that is not there."""
        return self


@dataclass(frozen=True)
class Clean(Condition):
    """The images as they are."""

    @property
    def label(self) -> str:
        """A few words for bars and tables."""
        return "clean"

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Return no column: no attack, no corruption."""
        return {}


@dataclass(frozen=True)
class Corruption(Condition):
    """A common corruption, with the constants published for the images' size.

    Attributes:
        name: A key of `corruptions.CORRUPTIONS` or `corruptions.OTHERS`.
        severity: 1 to 5.
        frost_folder: Where frost finds its textures (see `corrupt`); other types need none.

    Raises:
        InputError: On an unknown name or severity, or if the textures of frost are not at hand.
    """

    name: str
    severity: int
    frost_folder: Path | str | None = None

    def __post_init__(self) -> None:
        corruption_type(self.name, self.severity)
        if self.name == "frost":  # before hours of work, not after
            find_frost(self.frost_folder)

    @property
    def label(self) -> str:
        """Name and severity."""
        return f"{self.name} {self.severity}"

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Return the corruption, which constants were used and, of frost, which textures."""
        columns = corruption_columns(self.name, self.severity, image_size)
        if self.name == "frost":
            source, folder = find_frost(self.frost_folder)
            if self.frost_folder is not None:  # whose files may be replaced by others
                content = b"".join((folder / name).read_bytes() for name in FROST_FILES)
                source += f" ({hashlib.sha256(content).hexdigest()[:8]})"
            columns["textures"] = source
        return columns

    def perturb(
        self, model: nn.Module, pixels: Tensor, labels: Tensor, *, seed: int, first_index: int
    ) -> Tensor:
        """Return corrupted images."""
        return corrupt(
            pixels,
            self.name,
            self.severity,
            seed=seed,
            first_index=first_index,
            frost_folder=self.frost_folder,
        )


@dataclass(frozen=True)
class StoredCorruption(Condition):
    """Images that were corrupted before they were stored, as in ImageNet-C.

    Attributes:
        name: A key of `vonenet.robustness.CORRUPTIONS`.
        severity: 1 to 5.

    Raises:
        InputError: On an unknown name or severity.
    """

    name: str
    severity: int

    def __post_init__(self) -> None:
        corruption_type(self.name, self.severity)

    @property
    def label(self) -> str:
        """Name and severity."""
        return f"stored {self.name} {self.severity}"

    def columns(self, image_size: tuple[int, int]) -> dict[str, Value]:
        """Return the corruption, its published constants, and that it was stored."""
        return corruption_columns(self.name, self.severity, image_size) | {"source": "stored"}


def corruption_columns(name: str, severity: int, image_size: tuple[int, int]) -> dict[str, Value]:
    """Return what the rows of a corruption say, computed or stored."""
    return {
        "corruption": name,
        "category": corruption_type(name, severity).category,
        "severity": severity,
        "constants_px": constants_size(image_size),
    }

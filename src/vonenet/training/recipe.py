"""The training recipe: one dataclass, TOML on disk, and the learning rate that it prescribes."""

import dataclasses
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vonenet.errors import InputError

SCHEDULES = ("cosine", "onecycle", "step")
# One-cycle policy (Smith & Topin 2018, arXiv:1708.07120), with PyTorch's defaults
ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How to train, apart from model and data. The optimiser is SGD with momentum.

    Attributes:
        epochs: Passes over the data.
        batch_size: Images per step.
        learning_rate: Peak learning rate.
        momentum: Of SGD, in [0, 1).
        weight_decay: Of SGD, on every trained parameter.
        schedule: "cosine" falls to 0; "onecycle" rises over 30 % of the steps and falls; "step"
            drops tenfold every `step_epochs`.
        step_epochs: Epochs between drops of the "step" schedule.
        warmup_epochs: Epochs of linear rise before "cosine" or during "step"; "onecycle" has its
            own rise.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        horizontal_flip: Mirror every other image.
        shift_px: Move images by up to so many pixels each way, zeros entering.
        seed: Seed of order, augmentation, dropout and noise.

    Raises:
        InputError: Naming the first field whose value is impossible.
    """

    epochs: int = 70
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    step_epochs: int = 20
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    horizontal_flip: bool = True
    shift_px: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "step_epochs"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "above 0")
        for name in ("momentum", "label_smoothing"):
            self._require(name, 0 <= getattr(self, name) < 1, "0 or more, below 1")
        for name in ("weight_decay", "shift_px", "seed"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        self._require("schedule", self.schedule in SCHEDULES, ", ".join(SCHEDULES))
        fits = 0 <= self.warmup_epochs < self.epochs
        self._require("warmup_epochs", fits, f"0 or more, below epochs={self.epochs}")
        if self.schedule == "onecycle":
            self._require("warmup_epochs", self.warmup_epochs == 0, "0 with schedule 'onecycle'")

    def _require(self, name: str, possible: bool, allowed: str) -> None:
        if not possible:
            raise InputError(f"recipe: {name}={getattr(self, name)!r}; allowed: {allowed}")

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate at a point of time, in epochs from 0 to `epochs`."""
        return self.learning_rate * self._factor(epoch)

    def _factor(self, epoch: float) -> float:
        if self.schedule == "onecycle":
            rise = ONECYCLE_RISE * self.epochs
            if epoch < rise:
                return _cosine(ONECYCLE_START, 1, epoch / rise)
            return _cosine(1, ONECYCLE_END, (epoch - rise) / (self.epochs - rise))
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        if self.schedule == "cosine":
            return _cosine(1, 0, (epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs))
        return float(0.1 ** (epoch // self.step_epochs))

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Reads a recipe from TOML; fields that are not there keep their defaults.

        Raises:
            InputError: If the file cannot be read or a field is unknown or of the wrong type.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"recipe {path} cannot be read: {error}") from error
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in types:
                raise InputError(f"recipe {path}: no field {name!r}; allowed: {', '.join(types)}")
            if not _is_of(value, types[name]):
                wanted = getattr(types[name], "__name__", types[name])
                raise InputError(f"recipe {path}: {name}={value!r}; allowed: {wanted}")
        return cls(**values)

    def write(self, path: Path | str) -> None:
        """Writes every field as TOML."""
        values = dataclasses.asdict(self)
        # For strings, booleans and finite numbers JSON and TOML are spelled alike.
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
        Path(path).write_text("".join(lines), encoding="utf-8")


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _is_of(value: Any, wanted: Any) -> bool:
    """Whether a TOML value has a field's type; a whole number serves as a float."""
    return type(value) is wanted or (wanted is float and type(value) is int)

"""The log of a training run, log.jsonl -> one record for each finished epoch."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path
from typing import Any

from vonenet.errors import InputError, VOneNetWarning


@dataclass(frozen=True)
class Epoch:
    """A line of the log.

    Attributes:
        epoch: from 1.
        loss: mean training loss; may be no number.
        accuracy: on training images, 0 to 1; may be no number.
        learning_rate: of the last step.
        images_per_second: training throughput.
        seconds: training time, validation apart.
        validation_accuracy: 0 to 1; None if it was not measured or is no number.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float
    validation_accuracy: float | None


def read_log(path: Path) -> list[Epoch]:
    """The finished epochs of a log, ascending; none where there is no log.

    Of an epoch that is told twice the later line counts. A last line cut short by a kill is left
    out with a `VOneNetWarning`.

    Raises:
        InputError: the file cannot be read, or another line is not what a training writes.
    """
    if not path.is_file():
        return []
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if rest:
        message = f"last line of {path} is unfinished and left out: {rest[:40]!r}..."
        warnings.warn(message, VOneNetWarning, stacklevel=2)
    told = [
        _epoch(line, f"line {number} of {path}") for number, line in enumerate(lines, 1) if line
    ]
    return sorted({e.epoch: e for e in told if e is not None}.values(), key=lambda e: e.epoch)


def _epoch(line: bytes, where: str) -> Epoch | None:
    """The record of a line; None for a line of another kind."""
    try:
        entry: Any = json.loads(line)
        if entry["kind"] != "epoch":
            return None
        validation = entry.get("validation_accuracy")
        return Epoch(
            epoch=_whole(entry["epoch"]),
            loss=_number(entry["loss"]),
            accuracy=_share(entry["accuracy"]),
            learning_rate=_positive(entry["learning_rate"]),
            images_per_second=_positive(entry["images_per_second"]),
            seconds=_positive(entry["seconds"]),
            validation_accuracy=None if validation is None else _known(_share(validation)),
        )
    except KeyError as error:
        raise InputError(f"{where} is not a line of a training log: no {error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{where} is not a line of a training log: {error}") from error


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"epoch {value!r}; allowed: 1 or more")
    return value


def _share(value: Any) -> float:
    number = _number(value)
    if not (isnan(number) or 0 <= number <= 1):
        raise ValueError(f"accuracy {number}; allowed: 0 to 1")
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{number} of a rate or a time; allowed: 0 or more")
    return number


def _known(number: float) -> float | None:
    return None if isnan(number) else number

"""The records that packages share, and how they are kept: one JSON object per line.

`Result` is one measured number, `AuditRow` one check of an attack audit, `EpochRecord` one epoch of
a training. Who measures writes them, `vonenet.report` reads them, and neither knows the other.
"""

import json
import platform
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, overload

import torch

from vonenet.errors import InputError, VOneNetWarning
from vonenet.files import append_lines, is_object, read_whole
from vonenet.identity import HASH_LENGTH as HASH_LENGTH
from vonenet.identity import model_hash as model_hash

Value: TypeAlias = str | bool | int | float
Record = TypeVar("Record")

# Files in the folder of an evaluation
RESULTS, AUDIT, EXAMPLES = "results.jsonl", "audit.jsonl", "examples.png"
V1_FILTERS, V1_RESPONSES = "v1_filters.png", "v1_responses.png"  # where a model has a V1 block
# Files in the folder of a training
RECIPE, RUN, LOG = "recipe.toml", "run.json", "log.jsonl"
BEST, MODEL = "best.safetensors", "model.safetensors"


@cache
def current_versions() -> dict[str, str]:
    """Return the versions that a number depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vonenet": version("vonenet"),
    }


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured number and everything it depends on.

    Attributes:
        experiment: What the row belongs to, e.g. "demo".
        model: Name of the model; models that differ in more than weights need different names.
        model_hash: `model_hash` of the model.
        data: Name of the data set.
        data_size: Images in the whole set.
        condition: The condition's columns, e.g. `{"corruption": "contrast", "severity": 3}`.
        metric: What `value` is.
        value: The number, in the metric's unit (accuracy: 0 to 1).
        ci_low: Lower end of the 95 % confidence interval.
        ci_high: Upper end.
        n: Images measured.
        seed: Seed of everything random in the measurement.
        flags: What a reader must know beside the number, e.g. `{"stochastic": True}`.
        versions: Versions of python, torch and vonenet.
        seconds: Time the measurement took.
        data_hash: `ImageDataset.content_hash` of the images measured. Rows of earlier versions have
            none: they can be read, but are never taken for a measurement that is asked for.
        classes: How classes of the data and outputs of the model were matched.
        preprocessing: What the model's images went through: normalisation and size.
    """

    experiment: str
    model: str
    model_hash: str
    data: str
    data_size: int
    condition: Mapping[str, Value]
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    seed: int
    flags: Mapping[str, bool | Value] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: dict(current_versions()))
    seconds: float = 0.0
    data_hash: str = ""
    classes: str = ""
    preprocessing: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One check of an audit: a question that a sound attack measurement answers with yes.

    Attributes:
        model: Name of the model, as in its results.
        model_hash: `model_hash` of the model.
        settings: Everything else that the answer depends on: images, norm, steps, seed, ...
        check: Name of the check.
        passed: Whether the answer is yes; None if the images cannot tell.
        value: What was found.
        expected: What a sound measurement would have found.
        explanation: The question, and what a failure means.
    """

    model: str
    model_hash: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    check: str
    passed: bool | None
    value: float
    expected: str
    explanation: str


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a training.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images, while the weights moved; with mixup, of
            the class that has the larger share.
        learning_rate: Learning rate of the epoch's last step.
        images_per_second: Training throughput, all processes together.
        seconds: Training time without validation and checkpoints.
        validation_accuracy: Accuracy on validation images after the epoch; None without any.
        validation_n: Number of validation images.
        validation_interval: Wilson's 95 % interval of the validation accuracy.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float
    validation_accuracy: float | None = None
    validation_n: int | None = None
    validation_interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.validation_interval is not None:  # JSON gives a list
            low, high = self.validation_interval
            object.__setattr__(self, "validation_interval", (low, high))

    @property
    def validation_text(self) -> str:
        """The validation accuracy with its interval, e.g. "51.0 % (48.8 to 53.2 %, n = 2000)"."""
        if self.validation_accuracy is None:
            return "not validated"
        text = f"{100 * self.validation_accuracy:.1f} %"
        if self.validation_interval is None:
            return text
        low, high = (100 * end for end in self.validation_interval)
        return f"{text} ({low:.1f} to {high:.1f} %, n = {self.validation_n})"


def append_jsonl(path: Path | str, rows: Iterable[Result | AuditRow]) -> None:
    """Append rows to a JSON-lines file, on disk when this returns; several processes may.

    A last line that an earlier, killed run left unfinished is removed first.
    """
    append_lines(Path(path), _as_lines(rows))


def append_missing(path: Path | str, rows: Iterable[Result]) -> None:
    """Append those rows of which the file holds none with the same columns but the numbers."""

    def key(row: Result) -> str:
        numbers = ("value", "ci_low", "ci_high", "n", "flags", "versions", "seconds")
        columns = {name: value for name, value in asdict(row).items() if name not in numbers}
        return json.dumps(columns, sort_keys=True)

    def missing() -> str:
        there = {key(row) for row in read_jsonl(path)} if Path(path).exists() else set()
        return _as_lines(row for row in rows if key(row) not in there)

    append_lines(Path(path), missing)


def _as_lines(rows: Iterable[Result | AuditRow]) -> str:
    return "".join(json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows)


@overload
def read_jsonl(path: Path | str) -> list[Result]: ...
@overload
def read_jsonl(path: Path | str, record: type[Record]) -> list[Record]: ...
def read_jsonl(path: Path | str, record: type[Any] = Result) -> list[Any]:
    """Read the rows of a JSON-lines file.

    A last line cut short by a kill is left out with a `VOneNetWarning`.

    Args:
        path: The file.
        record: Class of its rows.

    Raises:
        InputError: If the file cannot be read, or another line is not a row.
    """
    from pydantic import TypeAdapter, ValidationError  # takes a fifth of a second to import

    types, rows = TypeAdapter(record), []
    for number, line in read_lines(path):
        reason: object
        try:
            row = record(**json.loads(line))
            types.validate_json(line, strict=True)
            json.dumps(asdict(row), allow_nan=False)  # no number was NaN, nor 1e999
            rows.append(row)
            continue
        except ValidationError as error:
            first = error.errors()[0]
            reason = f"{first['loc']} is {str(first['input'])[:40]!r}: {first['msg']}"
        except (ValueError, TypeError, RecursionError) as error:
            reason = error
        names = ", ".join(column.name for column in fields(record))
        raise InputError(f"line {number} of {path} is not a row of {names}: {reason}")
    return rows


def read_lines(path: Path | str) -> list[tuple[int, bytes]]:
    """Return the lines of a file that are not empty, with their numbers from 1.

    A last line cut short by a kill is left out with a `VOneNetWarning`.

    Raises:
        InputError: If the file cannot be read.
    """
    *lines, rest = read_whole(Path(path)).split(b"\n")
    if is_object(rest):
        lines.append(rest)
    elif rest:
        message = f"last line of {path} is unfinished and left out: {rest[:40]!r}..."
        warnings.warn(message, VOneNetWarning, stacklevel=3)
    return [(number, line) for number, line in enumerate(lines, start=1) if line]


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion (Wilson 1927, JASA 22:209).

    Raises:
        InputError: If not 0 <= successes <= n with n at least 1.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise InputError(f"no interval for {successes} of {n}; allowed: 0 to n of 1 or more")
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)

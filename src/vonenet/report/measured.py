"""Folders that `vonenet evaluate` wrote -> the models in them, one accuracy for each setting."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vonenet.errors import InputError
from vonenet.report.differences import Estimate, mean_estimate
from vonenet.report.folders import ALLOWED, RESULTS
from vonenet.report.setting import Setting
from vonenet.results import Result, read_jsonl

AUDIT, EXAMPLES = "audit.jsonl", "examples.png"
METRIC = "accuracy"


@dataclass(frozen=True)
class Accuracy:
    """One number of the page and the rows that it comes from.

    Attributes:
        estimate: the accuracy; of several seeds, the mean.
        rows: one row for each seed.
    """

    estimate: Estimate
    rows: Sequence[Result]

    def column(self, name: str) -> object:
        """A column of the condition, the same in every row; None where there is none."""
        return self.rows[0].condition.get(name)


@dataclass(frozen=True)
class Model:
    """A model that decides in one way on one set of images.

    Attributes:
        label: what the page calls it.
        name: its name in the rows.
        hash: of its weights.
        data: the images; of stored corruptions alone, the benchmark.
        decision_samples: noise draws per decision.
        accuracies: what was measured, in order of appearance.
    """

    label: str
    name: str
    hash: str
    data: str
    decision_samples: int
    accuracies: Mapping[Setting, Accuracy]

    @property
    def rows(self) -> list[Result]:
        """The rows that are shown."""
        return [row for accuracy in self.accuracies.values() for row in accuracy.rows]


@dataclass(frozen=True)
class Check:
    """One line of an audit, as `vonenet evaluate` writes it."""

    model: str
    model_hash: str
    check: str
    passed: bool
    value: object
    expected: object
    explanation: str


@dataclass(frozen=True)
class Measured:
    """All that the folders hold.

    Attributes:
        models: in order of appearance.
        audit: checks in order of appearance.
        examples: name of a folder and its contact sheet, a PNG.
        superseded: rows that a more thorough row of the same setting stands in for.
    """

    models: Sequence[Model]
    audit: Sequence[Check]
    examples: Sequence[tuple[str, bytes]]
    superseded: int


def read_folders(folders: Iterable[Path]) -> Measured:
    """Read what `vonenet evaluate` wrote.

    Args:
        folders: different ones, each with results.jsonl.

    Raises:
        InputError: a folder without rows, or something in it that is not what it should be.
    """
    folders = list(folders)
    rows = [row for folder in folders for row in _rows(folder / RESULTS)]
    models = models_of(rows)
    return Measured(
        models=models,
        audit=[check for folder in folders for check in _audit(folder / AUDIT)],
        examples=[found for folder in folders for found in _examples(folder)],
        superseded=len(rows) - sum(len(model.rows) for model in models),
    )


def models_of(rows: Iterable[Result]) -> list[Model]:
    """Rows grouped by name, weights, images and draws per decision; names told apart if need be."""
    rows = list(rows)
    images = {_decider(row): row.data for row in reversed(rows) if not _is_stored(row)}
    grouped: dict[tuple[str, str, str, int], list[Result]] = defaultdict(list)
    for row in rows:
        name, weights, samples = _decider(row)
        data = images.get(_decider(row), _benchmark(row)) if _is_stored(row) else row.data
        grouped[name, weights, data, samples].append(row)
    labels = _labels(list(grouped))
    return [
        Model(labels[identity], *identity, _accuracies(own)) for identity, own in grouped.items()
    ]


def _decider(row: Result) -> tuple[str, str, int]:
    """Name, weights and draws per decision."""
    return row.model, row.model_hash, int(row.condition.get("decision_samples", 1))


def _is_stored(row: Result) -> bool:
    """Whether images were corrupted before they were stored, as those of ImageNet-C.

    Such a set has a name for each corruption and severity; its rows join the model's others.
    """
    return row.condition.get("source") == "stored"


def _benchmark(row: Result) -> str:
    """The folder of a stored benchmark."""
    return row.data.removesuffix(f"/{row.condition['corruption']}/{row.condition['severity']}")


def _labels(identities: Sequence[tuple[str, str, str, int]]) -> dict[Any, str]:
    """The name, and in brackets what else tells it from models of the same name."""
    labels = {}
    for identity in identities:
        name, weights, data, samples = identity
        same = [other for other in identities if other[0] == name]
        remarks = (f"weights {weights[:6]}", data, f"{samples} draws per decision")
        telling = [
            remark
            for place, remark in enumerate(remarks, start=1)
            if len({other[place] for other in same}) > 1
        ]
        labels[identity] = f"{name} ({', '.join(telling)})" if telling else name
    return labels


def _accuracies(rows: Sequence[Result]) -> dict[Setting, Accuracy]:
    grouped: dict[Setting, list[Result]] = defaultdict(list)
    for row in rows:
        grouped[Setting.of(row)].append(row)
    return {setting: _accuracy(found) for setting, found in grouped.items()}


def _accuracy(rows: Sequence[Result]) -> Accuracy:
    """Of rows of one setting, those of the most thorough measurement, one for each seed.

    Seeds share their images: the interval of their mean is taken as wide as theirs.
    """
    most = max(map(_thoroughness, rows))
    by_seed = {row.seed: row for row in rows if _thoroughness(row) == most}
    chosen = list(by_seed.values())
    return Accuracy(mean_estimate([Estimate(r.value, r.ci_low, r.ci_high) for r in chosen]), chosen)


def _thoroughness(row: Result) -> tuple[float, int]:
    """Work of the attack per image, then images."""
    condition = row.condition
    return float(condition.get("steps", 1)) * float(condition.get("gradient_samples", 1)), row.n


def _rows(path: Path) -> list[Result]:
    rows = [row for row in read_jsonl(path) if row.metric == METRIC]
    if not rows:
        raise InputError(f"{path} holds no row of {METRIC}; {ALLOWED}")
    for row in rows:
        _check(row, path)
    return rows


def _check(row: Result, path: Path) -> None:
    """A row that is not of the shape `vonenet evaluate` gives it is refused here, once."""
    try:
        if not 0 <= row.ci_low <= row.value <= row.ci_high <= 1:
            raise InputError(
                f"{path} holds the accuracy {row.value} with interval {row.ci_low} to "
                f"{row.ci_high}; allowed: 0 <= low <= value <= high <= 1"
            )
        Setting.of(row), _decider(row), _thoroughness(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} holds a row that is no measurement ({reason})") from error


def _audit(path: Path) -> list[Check]:
    if not path.is_file():
        return []
    checks = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            columns: dict[str, Any] = json.loads(line)
            checks.append(Check(**{name: columns[name] for name in Check.__dataclass_fields__}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"line {number} of {path} is not a check of an audit") from error
    return checks


def _examples(folder: Path) -> list[tuple[str, bytes]]:
    path = folder / EXAMPLES
    if not path.is_file():
        return []
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n"):
        raise InputError(f"{path} is not a PNG")
    return [(folder.resolve().name, content)]

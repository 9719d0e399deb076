"""Folders that `vonenet train` wrote -> training runs: recipe, starts, finished epochs.

run = read_runs([Path("runs/voneresnet18")])[0]
run.validated    # [(1, 0.21), (2, 0.35), ...]
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

from vonenet.errors import InputError
from vonenet.results import LOG, RECIPE, RUN, EpochRecord, read_lines

# Limits of the numbers of an epoch; those of NAN_ALLOWED may be no number
LIMITS = {
    "epoch": (1, inf),
    "loss": (-inf, inf),
    "accuracy": (0, 1),
    "learning_rate": (0, sys.float_info.max),
    "images_per_second": (0, sys.float_info.max),
    "seconds": (0, sys.float_info.max),
    "validation_accuracy": (0, 1),
}
NAN_ALLOWED = {"loss", "accuracy", "validation_accuracy"}

Points = Sequence[tuple[int, float]]  # epoch, value


@dataclass(frozen=True)
class Start:
    """Once that a run was started, as far as run.json tells."""

    command: str
    processes: str
    machine: str
    commit: str
    versions: str


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        label: The folder's name, as evaluations call its model.
        recipe: Tables of recipe.toml; empty without that file.
        epochs: Finished ones, ascending.
        starts: In order.
        ended: Whether run.json says that the run came to its end.
    """

    label: str
    recipe: Mapping[str, Mapping[str, Any]]
    epochs: Sequence[EpochRecord]
    starts: Sequence[Start]
    ended: bool

    @property
    def last(self) -> EpochRecord | None:
        """The last finished epoch."""
        return self.epochs[-1] if self.epochs else None

    @property
    def planned(self) -> int | None:
        """Epochs of the recipe."""
        return self.recipe.get("optimization", {}).get("epochs")

    @property
    def finished(self) -> bool:
        """Whether all epochs were trained."""
        return self.ended or (self.last is not None and self.last.epoch == self.planned)

    @property
    def is_base(self) -> bool:
        """Whether it trained the network that a VOneNet is compared with."""
        return bool(self.recipe.get("model", {}).get("base", False))

    @property
    def network(self) -> str:
        """What was trained."""
        name = str(self.recipe.get("model", {}).get("name", ""))
        return f"base network of {name}" if name and self.is_base else name

    @property
    def validated(self) -> Points:
        """Epochs with their validation accuracy."""
        known = [(each.epoch, each.validation_accuracy) for each in self.epochs]
        return [(epoch, accuracy) for epoch, accuracy in known if accuracy is not None]

    @property
    def best(self) -> tuple[int, float] | None:
        """The epoch of the best validation, the first of equals, and its accuracy."""
        return max(self.validated, key=lambda item: item[1], default=None)


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Read what `vonenet train` wrote.

    Args:
        folders: Different ones. Of recipe.toml, run.json and log.jsonl any may be missing.

    Raises:
        InputError: Something in a folder is not what it should be.
    """
    folders = list(folders)
    return [_read_run(*pair) for pair in zip(folders, _labels(folders), strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, longer by parent folders where names are equal."""
    parts = [folder.resolve().parts for folder in folders]
    labels = []
    for own in parts:
        length = 1
        while length < len(own) and sum(each[-length:] == own[-length:] for each in parts) > 1:
            length += 1
        labels.append("/".join(own[-length:]))
    return labels


def _read_run(folder: Path, label: str) -> Run:
    recipe = _read(folder / RECIPE, tomllib.loads)
    for name, table in recipe.items():
        if not isinstance(table, dict):
            raise InputError(f"{folder / RECIPE} has {name}={table!r}; allowed: tables only")
    epochs = recipe.get("optimization", {}).get("epochs", 1)
    if type(epochs) is not int or epochs < 1:
        raise InputError(
            f"{folder / RECIPE} has optimization.epochs={epochs!r}; allowed: 1 or more"
        )
    described = _read(folder / RUN, json.loads)
    try:
        starts = [_start(each) for each in described.get("starts", [])]
    except (AttributeError, TypeError) as error:
        raise InputError(f"{folder / RUN} does not describe the starts of a run") from error
    return Run(label, recipe, read_epochs(folder / LOG), starts, bool(described.get("finished")))


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Read a file of names and values; return nothing if it is not there."""
    if not path.is_file():
        return {}
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the encoding, of TOML, of JSON
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds {type(content).__name__}, not names")
    return content


def _start(facts: Mapping[str, Any]) -> Start:
    if type(facts.get("processes")) not in (int, type(None)):
        raise TypeError
    machine, versions, git = (facts.get(name) or {} for name in ("machine", "versions", "git"))
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    commit = str(git.get("commit") or "")[:7]
    packages = [f"{name} {versions[name]}" for name in ("vonenet", "torch") if name in versions]
    return Start(
        command=str(facts.get("command") or ""),
        processes=str(facts.get("processes") or ""),
        machine=str(
            machine.get("gpu") or ", ".join(filter(None, [machine.get("processor"), cores]))
        ),
        commit=f"{commit}, changed" if git.get("changed") else commit,
        versions=", ".join(packages),
    )


def read_epochs(path: Path) -> list[EpochRecord]:
    """Read the finished epochs of a log, ascending; none where there is no log.

    Of an epoch that is there twice the later line counts. A last line cut short by a kill is left
    out with a `VOneNetWarning`.

    Raises:
        InputError: The file cannot be read, or another line is not what a training writes.
    """
    epochs = {}
    for line_number, line in read_lines(path) if path.is_file() else ():
        try:
            entry = json.loads(line)
            if entry["kind"] == "epoch":
                record = _record(entry)
                epochs[record.epoch] = record
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            where = f"line {line_number} of {path}"
            raise InputError(f"{where} is not a line of a training log: {why}") from error
    return [epochs[epoch] for epoch in sorted(epochs)]


def _record(entry: dict[str, Any]) -> EpochRecord:
    values: dict[str, Any] = {}
    for name, (low, high) in LIMITS.items():
        value = entry.get(name, nan) if name == "validation_accuracy" else entry[name]
        if type(value) not in ((int,) if name == "epoch" else (int, float)):
            raise ValueError(f"{name} {value!r} is no number")
        if not (low <= value <= high or (name in NAN_ALLOWED and isnan(value))):
            raise ValueError(f"{name} {value}; allowed: {low} to {high:g}")
        values[name] = value if name == "epoch" else float(value)
    if isnan(values["validation_accuracy"]):
        values["validation_accuracy"] = None
    return EpochRecord(**values)

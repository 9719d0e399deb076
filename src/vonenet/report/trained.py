"""Folders that `vonenet train` wrote -> training runs: recipe, starts, finished epochs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from vonenet.errors import InputError
from vonenet.report.folders import LOG, RECIPE
from vonenet.report.training_log import Epoch, read_log

RUN = "run.json"


@dataclass(frozen=True)
class Start:
    """Once that a run was started, as far as run.json tells."""

    command: str
    processes: int | None
    machine: str
    commit: str
    versions: str


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        label: what the page calls it: the folder's name, as evaluations call its model.
        recipe: tables of recipe.toml; empty without that file.
        epochs: finished ones, ascending.
        starts: in order.
        ended: whether run.json says that the run came to its end.
    """

    label: str
    recipe: Mapping[str, Mapping[str, Any]]
    epochs: Sequence[Epoch]
    starts: Sequence[Start]
    ended: bool

    @property
    def last(self) -> Epoch | None:
        """The last finished epoch."""
        return self.epochs[-1] if self.epochs else None

    @property
    def planned(self) -> int | None:
        """Epochs of the recipe."""
        return self.recipe.get("optimization", {}).get("epochs")

    @property
    def schedule(self) -> str:
        """Of the learning rate."""
        return str(self.recipe.get("optimization", {}).get("schedule", ""))

    @property
    def finished(self) -> bool:
        """Whether all epochs were trained."""
        return self.ended or (self.last is not None and self.last.epoch == self.planned)

    @property
    def network(self) -> str:
        """What was trained."""
        name = self.recipe.get("model", {}).get("name", "")
        return f"base network of {name}" if name and self.is_base else str(name)

    @property
    def is_base(self) -> bool:
        """Whether it is the network that a VOneNet is compared with."""
        return bool(self.recipe.get("model", {}).get("base", False))

    @property
    def commands(self) -> Sequence[str]:
        """By which it was started, each once."""
        return list(dict.fromkeys(start.command for start in self.starts if start.command))

    @property
    def validated(self) -> Sequence[tuple[int, float]]:
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
        folders: different ones. Of recipe.toml, run.json and log.jsonl any may be missing.

    Raises:
        InputError: something in a folder is not what it should be.
    """
    folders = list(folders)
    return [_run(folder, label) for folder, label in zip(folders, _labels(folders), strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of the folders around them as tell equal names apart."""
    parts = [folder.resolve().parts for folder in folders]
    labels = []
    for own in parts:
        same = [other for other in parts if other[-1] == own[-1]]
        length = next(n for n in range(1, 1 + len(own)) if _alone(own[-n:], same))
        labels.append("/".join(own[-length:]))
    return labels


def _alone(end: Sequence[str], paths: Sequence[Sequence[str]]) -> bool:
    return sum(tuple(path[-len(end) :]) == tuple(end) for path in paths) == 1


def _run(folder: Path, label: str) -> Run:
    described = _read(folder / RUN, json.loads)
    try:
        starts = [_start(each) for each in described.get("starts", [])]
    except (AttributeError, TypeError) as error:
        raise InputError(f"{folder / RUN} does not describe the starts of a run") from error
    epochs = read_log(folder / LOG)
    return Run(label, _recipe(folder), epochs, starts, bool(described.get("finished")))


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a file of names and values holds; nothing if it is not there."""
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


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / RECIPE
    recipe = _read(path, tomllib.loads)
    for name, table in recipe.items():
        if not isinstance(table, dict):
            raise InputError(f"{path} has {name}={table!r}; allowed: tables only")
    epochs = recipe.get("optimization", {}).get("epochs", 1)
    if type(epochs) is not int or epochs < 1:
        raise InputError(f"{path} has optimization.epochs={epochs!r}; allowed: 1 or more")
    return recipe


def _start(facts: Mapping[str, Any]) -> Start:
    processes = facts.get("processes")
    if type(processes) not in (int, NoneType):
        raise TypeError(f"processes={processes!r}")
    machine = facts.get("machine") or {}
    cores = machine.get("cores")
    processor = [str(machine.get("processor") or ""), f"{cores} cores" if cores else ""]
    versions = facts.get("versions") or {}
    packages = [f"{name} {versions[name]}" for name in ("vonenet", "torch") if name in versions]
    git = facts.get("git") or {}
    commit = str(git.get("commit") or "")[:7]
    return Start(
        str(facts.get("command") or ""),
        processes,
        str(machine.get("gpu") or ", ".join(filter(None, processor))),
        f"{commit}, changed" if git.get("changed") else commit,
        ", ".join(packages),
    )

"""Checkpoints of a run: written whole or not at all, the newest two kept, read back to the bit.

    last/state.pt       weights, their average, the optimizer's memory
    last/state.json     where the run is and what it is: recipe, classes, data; a checksum of both
    previous/           the checkpoint before

`last` is replaced only after its successor is complete and on disk, so a kill at any moment leaves
one that can be read; should `last` be damaged all the same, `previous` takes its place. A run goes
on from them alone.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vonenet.errors import CheckpointError, InputError, VOneNetWarning
from vonenet.files import sync, write_whole, written
from vonenet.results import EpochRecord, wilson_interval

FORMAT = "vonenet-training-3"
LAST, PREVIOUS, NEXT = "last", "previous", ".new-last"
TENSORS, FACTS = "state.pt", "state.json"


@dataclass
class TrainingState:
    """How far a run has come; all that is random in it follows from epoch and step.

    Attributes:
        epoch: Number of finished epochs.
        step: Steps taken of this epoch. When all are taken, its validation is still to come.
        loss, hits, seen, seconds: Sums over this epoch: losses, right decisions, images, time.
        rate: Learning rate of the last step.
        records: Records of the finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    records: list[EpochRecord] = field(default_factory=list)

    def finish_epoch(self, hits: int | None, validated: int) -> EpochRecord:
        """Count an epoch, with its right decisions on so many images, and return its record."""
        accuracy = None if hits is None else hits / validated
        record = EpochRecord(
            epoch=self.epoch + 1,
            loss=self.loss / self.seen,
            accuracy=self.hits / self.seen,
            learning_rate=self.rate,
            images_per_second=self.seen / self.seconds,
            seconds=self.seconds,
            validation_accuracy=accuracy,
            validation_n=None if hits is None else validated,
            validation_interval=None if hits is None else wilson_interval(hits, validated),
        )
        self.records.append(record)
        self.epoch += 1
        self.step = self.hits = self.seen = 0
        self.loss = self.seconds = self.rate = 0.0
        return record


def sealed(facts: Mapping[str, Any], content: bytes = b"", indent: int | None = None) -> bytes:
    """Return facts as JSON, with a checksum of them and of some content beside them."""
    return json.dumps({"checksum": _checksum(facts, content), **facts}, indent=indent).encode()


def unsealed(text: bytes, content: bytes = b"") -> dict[str, Any]:
    """Return facts that were sealed with this content.

    Raises:
        ValueError: Either was changed since.
    """
    try:
        facts = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is no JSON that a training writes") from error
    if not isinstance(facts, dict) or facts.pop("checksum", None) != _checksum(facts, content):
        raise ValueError("its checksum is wrong")
    return facts


def _checksum(facts: Mapping[str, Any], content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(json.dumps(facts).encode()))


def write_checkpoint(run: Path, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Make a checkpoint the last one of a run, on disk when this returns.

    Raises:
        InputError: It cannot be written; the last one is still there.
    """
    last, previous, new = run / LAST, run / PREVIOUS, run / NEXT
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    content = buffer.getvalue()
    try:
        with written(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            write_whole(new / TENSORS, content)
            write_whole(new / FACTS, sealed({"format": FORMAT, **facts}, content))
            if last.exists():
                shutil.rmtree(previous, ignore_errors=True)
                last.rename(previous)
            new.rename(last)
            sync(run)
    except InputError as error:
        shutil.rmtree(new, ignore_errors=True)
        good = [folder for folder in (last, previous) if folder.exists()]
        hint = f"; the checkpoint {good[0]} is still good" if good else ""
        raise InputError(f"{error}{hint}") from error


def read_checkpoint(run: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return tensors and facts of the last checkpoint that can be read; None if there is none.

    A damaged one is left out with a `VOneNetWarning`, and removed.

    Raises:
        CheckpointError: There are checkpoints, but none can be read.
    """
    last, previous = run / LAST, run / PREVIOUS
    if not last.exists():
        return _read(previous) if previous.exists() else None
    try:
        return _read(last)
    except CheckpointError as error:
        if not previous.exists():
            raise CheckpointError(f"{error}; remove it to start the run anew") from error
        found = _read(previous)
        message = f"{error}; the run goes on from {previous}"
        warnings.warn(message, VOneNetWarning, stacklevel=2)
        shutil.rmtree(last)
        return found


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        content = (folder / TENSORS).read_bytes()
        facts = unsealed((folder / FACTS).read_bytes(), content)
    except (OSError, ValueError) as error:
        reason = "damaged, or of an earlier version of vonenet"
        raise CheckpointError(f"checkpoint {folder} is {reason}: {error}") from error
    if facts.pop("format") != FORMAT:
        raise CheckpointError(f"checkpoint {folder} is of another version of vonenet")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), facts

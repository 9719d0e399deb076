"""Checkpoints of a run: written whole or not at all, the newest two kept, read back to the bit.

    last/state.pt       weights, their average, the optimizer's memory
    last/state.json     where the run is; a checksum of state.pt
    previous/           the checkpoint before

`last` is replaced only after its successor is complete and on disk, so a kill at any moment leaves
one that can be read; should `last` be damaged all the same, `previous` takes its place.
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
from vonenet.results import EpochRecord

FORMAT = "vonenet-training-2"
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

    def finish_epoch(self, validation_accuracy: float | None) -> EpochRecord:
        """Count an epoch and return its record."""
        record = EpochRecord(
            epoch=self.epoch + 1,
            loss=self.loss / self.seen,
            accuracy=self.hits / self.seen,
            learning_rate=self.rate,
            images_per_second=self.seen / self.seconds,
            seconds=self.seconds,
            validation_accuracy=validation_accuracy,
        )
        self.records.append(record)
        self.epoch += 1
        self.step = self.hits = self.seen = 0
        self.loss = self.seconds = self.rate = 0.0
        return record


def write_checkpoint(run: Path, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Make a checkpoint the last one of a run, on disk when this returns.

    Raises:
        InputError: It cannot be written; the last one is still there.
    """
    last, previous, new = run / LAST, run / PREVIOUS, run / NEXT
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    content = buffer.getvalue()
    text = json.dumps({"format": FORMAT, "checksum": zlib.crc32(content), **facts})
    try:
        with written(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            write_whole(new / TENSORS, content)
            write_whole(new / FACTS, text.encode())
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
        facts = json.loads((folder / FACTS).read_bytes())
        content = (folder / TENSORS).read_bytes()
        if facts.pop("format") != FORMAT or facts.pop("checksum") != zlib.crc32(content):
            raise ValueError("its checksum is wrong")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {error}") from error
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), facts

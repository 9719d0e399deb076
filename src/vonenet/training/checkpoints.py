"""Checkpoints of a run: tensors in safetensors, the rest in JSON, the newest two kept.

    last/state.safetensors, last/position.json
    previous/...

`last` is replaced only after its successor is complete and on disk, so a kill at any moment leaves
one that can be read; should `last` be damaged all the same, `previous` takes its place.
"""

from __future__ import annotations

import json
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vonenet.errors import CheckpointError, InputError, VOneNetWarning
from vonenet.files import sync, write_whole, written

FORMAT = "vonenet-training-1"
LAST, PREVIOUS, NEXT = "last", "previous", ".new-last"
STATE, POSITION = "state.safetensors", "position.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        tensors: Weights, their average, the optimizer's memory; on the CPU.
        facts: Everything else, as JSON has it.
    """

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Makes a checkpoint the last one of a run, on disk when this returns.

    Raises:
        InputError: If it cannot be written; the last one is still there.
    """
    last, previous, new = run / LAST, run / PREVIOUS, run / NEXT
    try:
        with written(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            _write(new, checkpoint)
            if last.exists():
                shutil.rmtree(previous, ignore_errors=True)
                last.rename(previous)
            new.rename(last)
            sync(run)
    except InputError as error:
        shutil.rmtree(new, ignore_errors=True)
        good = [folder.name for folder in (last, previous) if folder.exists()]
        hint = f"; the checkpoint {run / good[0]} is still good" if good else ""
        raise InputError(f"{error}{hint}") from error


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint, good or damaged."""
    return any((run / name).exists() for name in (LAST, PREVIOUS))


def read_checkpoint(run: Path) -> Checkpoint | None:
    """The last checkpoint of a run that can be read; None if the run has none.

    A damaged one is left out with a `VOneNetWarning`, and removed.

    Raises:
        CheckpointError: If there are checkpoints, but none can be read.
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


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    state = save({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()})
    facts = {"format": FORMAT, "checksum": zlib.crc32(state), **checkpoint.facts}
    write_whole(folder / STATE, state)
    write_whole(folder / POSITION, json.dumps(facts).encode())


def _read(folder: Path) -> Checkpoint:
    try:
        facts = json.loads((folder / POSITION).read_bytes())
        state = (folder / STATE).read_bytes()
        intact = facts.pop("format") == FORMAT and facts.pop("checksum") == zlib.crc32(state)
        tensors = load(state)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder} is damaged: {error}") from error
    if not intact:
        raise CheckpointError(f"checkpoint {folder} is damaged: its checksum is wrong")
    return Checkpoint(tensors, facts)

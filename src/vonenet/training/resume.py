"""Whether a folder holds the run that is asked for; its other files as its checkpoint has them."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from vonenet.errors import InputError, VOneNetWarning
from vonenet.files import is_object, write_whole
from vonenet.results import BEST, LOG, MODEL, RECIPE, RUN
from vonenet.training.checkpoint import unsealed
from vonenet.training.config import TrainingRecipe

# Schedules under which a longer run begins as a shorter one does
ANY_LENGTH = ("step", "constant")


def check_new(path: Path) -> None:
    """Check that a folder without a checkpoint has nothing that a new run would replace.

    Raises:
        InputError: It has files of something else, or of a finished run.
    """
    names = [name for name in (RECIPE, LOG, BEST, MODEL) if (path / name).exists()]
    if names and restored_run(path).get("finished", "unknown"):
        raise InputError(
            f"{path} holds {names[0]}, and no checkpoint of an unfinished run; allowed: another "
            "folder"
        )


def check_same(path: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the run in a folder is the one asked for, or begins as it does.

    Raises:
        InputError: Recipe, classes or images differ.
    """

    def refuse(before: object, after: object, allowed: str) -> None:
        raise InputError(
            f"{path} holds a run {before}, not {after}; allowed: {allowed}, or another folder"
        )

    old, new = (asdict(TrainingRecipe.from_tables(each["recipe"])) for each in (there, now))
    more = new["optimization"]["epochs"] > old["optimization"]["epochs"]
    for table, fields in new.items():
        for name, value in fields.items():
            before = old[table][name]
            if before == value or name == "workers":  # no number depends on those
                continue
            allowed = "the same recipe"
            if name == "epochs" and more:
                if new["optimization"]["schedule"] in ANY_LENGTH:
                    continue
                allowed = f"more with schedule {' or '.join(ANY_LENGTH)}, --from {path} elsewhere"
            refuse(f"with {table}.{name}={before!r}", repr(value), allowed)
    pairs = zip_longest(there["classes"], now["classes"])
    renamed = [pair for pair in pairs if pair[0] != pair[1]]
    if renamed:
        before, after = (f"{len(each['classes'])} classes" for each in (there, now))
        refuse(f"on {before}, {renamed[0][0]!r}", f"{after}, {renamed[0][1]!r}", "the same data")
    for part in ("training", "validation"):
        before, after = (_images(each[part], part) for each in (there, now))
        if before != after:
            refuse(f"on {before}", after, "the same data")


def _images(part: Mapping[str, Any] | None, name: str) -> str:
    return f"{part['images']} {name} images ({part['content']})" if part else f"no {name} images"


def read_run(folder: Path) -> dict[str, Any]:
    """Return what run.json holds; nothing if it is not there.

    Raises:
        InputError: It is damaged.
    """
    path = folder / RUN
    try:
        return unsealed(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error


def restored_run(folder: Path) -> dict[str, Any]:
    """Return what run.json holds; a damaged one is put aside with a `VOneNetWarning`."""
    try:
        return read_run(folder)
    except InputError:
        _put_aside(folder / RUN, "it was changed; its list of starts begins anew")
        return {}


def restore_log(path: Path, facts: Mapping[str, Any]) -> None:
    """Make the log that of a checkpoint: without lines of what comes later and is done again.

    If it was changed, the lines of finished epochs are made anew, and a `VOneNetWarning` says so.
    """
    size, checksum = facts["log"]
    content = path.read_bytes() if path.exists() else b""
    kept, later = content[:size], content[size:].split(b"\n")[:-1]
    if len(kept) < size or zlib.crc32(kept) != checksum:
        records, steps = facts["state"]["records"], facts["about"]["steps"]
        lines = [log_line("epoch", record["epoch"] * steps, record) for record in records]
        _put_aside(path, f"it was changed; {len(lines)} lines of epochs are kept, none of steps")
        kept = "".join(lines).encode()
    elif strange := [line for line in later if not is_object(line)]:
        _warn(f"{path} loses {len(strange)} lines that are no log, such as {strange[0][:40]!r}")
    if kept != content:
        write_whole(path, kept)


def restored_best(path: Path, expected: list[int] | None) -> list[int] | None:
    """Return what a checkpoint says of the best weights, or None if they are not there as it says.

    Then they are put aside, and a `VOneNetWarning` says so. They may be of an epoch after the
    checkpoint, as after a kill, which is trained again.
    """
    if expected is None or size_and_checksum(path) == expected:
        return expected
    why = "it is not what the checkpoint says: of a later epoch, which is trained again, or changed"
    _put_aside(path, f"{why}; only a better epoch writes it again")
    return None


def size_and_checksum(path: Path) -> list[int] | None:
    """Return by what a file is known again; None if it is not there."""
    content = path.read_bytes() if path.exists() else None
    return None if content is None else [len(content), zlib.crc32(content)]


def log_line(kind: str, step: int, values: Mapping[str, Any]) -> str:
    """Return a line of the log: the values that are not None, after so many steps."""
    present = {name: value for name, value in values.items() if value is not None}
    return json.dumps({"kind": kind, "step": step, **present}) + "\n"


def _put_aside(path: Path, message: str) -> None:
    name = "missing"
    if path.exists():
        name = f"damaged-{zlib.crc32(path.read_bytes()):08x}-{path.name}"
        path.replace(path.with_name(name))
    _warn(f"{path} ({name}): {message}")


def _warn(message: str) -> None:
    warnings.warn(message, VOneNetWarning, stacklevel=3)

"""Files and folders that appear whole or not at all, and one line where they cannot be written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vonenet.errors import InputError


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line.

    Raises:
        InputError: If the disk is full, a folder may not be changed, ...
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file, on disk when this returns.

    Raises:
        InputError: If it cannot be written. An old file stays as it was.
    """
    replace_whole(path, lambda temporary: temporary.write_bytes(content))


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write or replace a file by what `write` makes of a path, on disk when this returns.

    Raises:
        InputError: If it cannot be written. An old file stays as it was.
    """
    temporary = path.with_name(f".new-{path.name}")
    with written(path):
        try:
            write(temporary)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def natural_key(text: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Return what sorts names as people count: "2" before "10", "stim9" before "stim10"."""
    parts = re.split("([0-9]+)", text)  # at odd places numbers, compared by length, then as text
    digits = [part.lstrip("0") if place % 2 else part for place, part in enumerate(parts)]
    key = tuple((len(each), each) if i % 2 else each for i, each in enumerate(digits))
    return key, text  # names of equal numbers, "1" and "01", have an order too

"""Finished parts of a measurement, kept in files beside the rows until the row is written.

Each process writes to a file of its own and reads those of all. A line has a checksum: what was
damaged is left out, and measured again.
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from vonenet.files import append_own_lines


class Journal:
    """The finished parts of all measurements that will be rows of a file; None: nothing is kept."""

    def __init__(self, rows: Path | None) -> None:
        self._rows = rows
        self._own = rows and rows.with_name(f"{rows.name}.unfinished-{secrets.token_hex(4)}")

    def parts(self, measurement: str) -> dict[str, Any]:
        """Return what was found in each finished part of a measurement."""
        entries = [entry for file in self._files() for entry in _entries(file)]
        return {part: found for of, part, found in entries if of == measurement}

    def add(self, measurement: str, part: str, found: Any) -> None:
        """Keep what was found in a part, on disk when this returns."""
        if self._own is not None:
            entry = [measurement, part, found]
            line = {"entry": entry, "checksum": _checksum(entry)}
            append_own_lines(self._own, json.dumps(line) + "\n")

    def clear(self, done: Container[str]) -> None:
        """Remove the files, whosesoever, that hold nothing but parts of measurements now done."""
        for file in self._files():
            if all(measurement in done for measurement, _, _ in _entries(file)):
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        rows = self._rows
        return sorted(rows.parent.glob(f"{rows.name}.unfinished-*")) if rows else []


def _entries(file: Path) -> Iterator[tuple[str, str, Any]]:
    """Yield measurement, part and what was found, of each line that is whole."""
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:  # another process has removed it just now
        return
    for line in lines:
        try:
            content = json.loads(line)
            if content["checksum"] == _checksum(content["entry"]):
                yield content["entry"]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue


def _checksum(entry: list[Any]) -> int:
    return zlib.crc32(json.dumps(entry).encode())

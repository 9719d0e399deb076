"""What is finished of a condition, batch by batch, so that a killed run loses one batch at most.

Each process appends to a file of its own beside the results, and reads those of all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vonenet.results import append_lines


class Journal:
    """Correct decisions by condition and batch, on disk as soon as they are known.

    Args:
        results: the results file that the journal stands beside; None: nothing is kept.
        rank: number of this process.
    """

    def __init__(self, results: Path | str | None, rank: int = 0) -> None:
        self._results = None if results is None else Path(results)
        self._rank = rank

    def read(self, key: Mapping[str, Any]) -> dict[int, int]:
        """Correct decisions of the batches of a condition that are known, by number of batch.

        Args:
            key: everything that the counts depend on.
        """
        name = _hash(key)
        return {
            entry["batch"]: entry["correct"]
            for path in self._files()
            for entry in _entries(path)
            if entry["key"] == name
        }

    def write(self, key: Mapping[str, Any], batch: int, correct: int) -> None:
        """Append one batch; on disk when this returns."""
        if self._results is None:
            return
        entry = {"key": _hash(key), "batch": batch, "correct": correct}
        path = self._results.with_name(f"{self._results.name}.unfinished-{self._rank}")
        append_lines(path, json.dumps(entry) + "\n")

    def remove(self) -> None:
        """Delete the files: every condition has its row."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        if self._results is None:
            return []
        return sorted(self._results.parent.glob(f"{self._results.name}.unfinished-*"))


def _entries(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a last one cut by a kill is left out."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]


def _hash(key: Mapping[str, Any]) -> str:
    text = json.dumps(key, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

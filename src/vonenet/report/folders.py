"""The folders of a report: which hold an evaluation, which a training run, which both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vonenet.errors import InputError

RESULTS = "results.jsonl"  # of an evaluation
RECIPE, LOG = "recipe.toml", "log.jsonl"  # of a training run, the log once it has something to tell
ALLOWED = "give folders that vonenet evaluate or vonenet train wrote"


@dataclass(frozen=True)
class Folders:
    """Folders by what they hold, each once, in the order given."""

    evaluations: Sequence[Path]
    runs: Sequence[Path]

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Folders:
        """Sort folders.

        Raises:
            InputError: there is none, or one holds neither an evaluation nor a run.
        """
        distinct = list({folder.resolve(): folder for folder in folders}.values())
        if not distinct:
            raise InputError(f"no folder was given; {ALLOWED}")
        found = cls(
            [folder for folder in distinct if (folder / RESULTS).is_file()],
            [folder for folder in distinct if _is_run(folder)],
        )
        for folder in distinct:
            if folder not in (*found.evaluations, *found.runs):
                raise InputError(
                    f"{folder} holds neither {RESULTS} of an evaluation nor {LOG} of a training "
                    f"run; {ALLOWED}"
                )
        return found


def _is_run(folder: Path) -> bool:
    return (folder / RECIPE).is_file() or (folder / LOG).is_file()

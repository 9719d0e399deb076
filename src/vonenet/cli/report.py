"""`vonenet report`: one page from the folders of evaluations and trainings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Report:
    """Make one page from what `vonenet evaluate` and `vonenet train` wrote.

    Attributes:
        folders: those of evaluations (results.jsonl), of trainings (log.jsonl), or both.
        out: the page.
        base: evaluated model that the others are compared with; the first one if not given.
    """

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR...")]
    out: Path = Path("report.html")
    base: str | None = None

    def run(self) -> None:
        """Write the page and print its tables."""
        from vonenet.report.evaluation import write_evaluation_report

        print(write_evaluation_report(self.folders, self.out, self.base))
        print(f"\nreport: {self.out.resolve()}")

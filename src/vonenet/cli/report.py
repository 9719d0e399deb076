"""`vonenet report`: one page from the folders of evaluations and trainings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from vonenet.errors import InputError
from vonenet.files import standard_stream

PAGE = b"<!doctype html"  # how a page begins


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
        """Write the page and print its tables, to stderr if the page goes to stdout.

        Raises:
            InputError: A folder cannot be reported on, or the page would replace something else.
        """
        from vonenet.report.evaluation import write_evaluation_report

        is_printed = self.out.exists() and standard_stream(self.out.stat()) is not None
        if not is_printed and self.out.is_file() and not _is_page(self.out):
            raise InputError(f"{self.out} is there and is no page; allowed: another name for --out")
        tables = write_evaluation_report(self.folders, self.out, self.base)
        place = "" if is_printed else f"\n\nreport: {self.out.resolve()}"
        print(f"{tables}{place}", file=sys.stderr if is_printed else sys.stdout)


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(len(PAGE))
    return not start or start.lower() == PAGE

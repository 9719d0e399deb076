"""What `vonenet bench` does: measure, keep the record, write the page; returns text to print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vonenet.benchmarks.page import (
    goal_table,
    kept_notes,
    machine_in_words,
    time_table,
    write_page,
)
from vonenet.benchmarks.record import Record
from vonenet.benchmarks.run import run_bench
from vonenet.errors import InputError

DEFAULT_PAGE, DEFAULT_RECORDS = Path("docs/performance.md"), Path("results/bench")


def bench_report(
    *,
    device: str = "auto",
    quick: bool = False,
    threads: int | None = None,
    out: Path | None = None,
    records: Path = DEFAULT_RECORDS,
    progress: bool = True,
) -> str:
    """Measure, and unless it is quick, write page and record.

    Args:
        device: `cpu`, `cuda` or `auto`.
        quick: a few cases, briefly. They are not recorded, and a page is written only to `out`.
        threads: threads that torch may compute with.
        out: the page; by default `DEFAULT_PAGE`, which a quick run leaves alone.
        records: folder of the raw numbers. The page also shows the newest ones there of the other
            kind of device.
        progress: show a progress bar.

    Returns:
        The machine, times and goals.

    Raises:
        InputError: an impossible argument, a page that cannot be written, or something else in the
            folder of records.
    """
    page = out or (None if quick else DEFAULT_PAGE)
    if page is not None:
        _check_can_be_written(page)
    earlier = read_records(records)
    record = run_bench(device, quick=quick, threads=threads, progress=progress)
    written = []
    if not quick:
        written.append(record.write(records))
    if page is not None:
        write_page(page, with_other_kind(record, earlier))
        written.append(page)
    parts = [machine_in_words(record), time_table(record), goal_table(record)]
    return "\n\n".join([*parts, *(f"written: {path}" for path in written)])


def read_records(folder: Path) -> list[Record]:
    """All records of a folder, none if it is not there.

    Raises:
        InputError: a JSON file there is something else.
    """
    return [Record.read(path) for path in sorted(folder.glob("*.json"))]


def with_other_kind(record: Record, earlier: Iterable[Record]) -> list[Record]:
    """The record and, of the earlier ones, the newest of another kind of device; CPU first."""
    newest = {each.machine.kind: each for each in sorted(earlier, key=lambda each: each.date)}
    newest[record.machine.kind] = record
    return [newest[kind] for kind in sorted(newest)]


def _check_can_be_written(page: Path) -> None:
    """Before minutes of measuring, not after."""
    if page.is_dir():
        raise InputError(f"{page} is a folder; --out must be a file, such as {DEFAULT_PAGE}")
    (page.parent / "images").mkdir(parents=True, exist_ok=True)
    kept_notes(page)

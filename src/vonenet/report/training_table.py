"""The table of training runs, for the page and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from vonenet.report.trained import Run
from vonenet.report.words import DASH, duration, first_column, listing, number, percent

COLUMNS = (
    "epochs",
    "validation accuracy, %",
    "best, %",
    "training loss",
    "images per second",
    "training time",
    "processes",
    "code",
)
TEXT_COLUMNS = {
    "epochs": 10,
    "validation, %": 15,
    "best, % (epoch)": 17,
    "loss": 9,
    "images/s": 10,
    "time": 13,
}


def training_cells(run: Run) -> list[tuple[str, str]]:
    """What COLUMNS say of a run, each with what stands beneath it."""
    return [
        (_progress(run), _state(run)),
        _final(run),
        _best(run),
        (_loss(run), ""),
        (_speed(run), ""),
        (_time(run), ""),
        _told((str(start.processes or ""), start.machine) for start in run.starts),
        _told((start.commit, start.versions) for start in run.starts),
    ]


def training_table(runs: Sequence[Run]) -> str:
    """The runs for a terminal, one line each."""
    rows = [list(TEXT_COLUMNS)]
    for run in runs:
        final, best = _with_epoch(*_final(run)), _with_epoch(*_best(run))
        rows.append([_progress(run), final, best, _loss(run), _speed(run), _time(run)])
    names = first_column(["training", *(run.label for run in runs)])
    widths = TEXT_COLUMNS.values()
    return "\n".join(
        name + "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for name, row in zip(names, rows, strict=True)
    )


def _with_epoch(value: str, epoch: str) -> str:
    return f"{value} ({epoch.removeprefix('epoch ')})" if epoch else value


def _progress(run: Run) -> str:
    done = run.last.epoch if run.last else 0
    return f"{done} of {run.planned}" if run.planned else f"{done}"


def _state(run: Run) -> str:
    unfinished = "not finished" if run.planned else ""
    starts = f"{len(run.starts)} starts" if len(run.starts) > 1 else ""
    return ", ".join(filter(None, ["finished" if run.finished else unfinished, starts]))


def _final(run: Run) -> tuple[str, str]:
    """Last validation accuracy, and of which epoch if it is not the last."""
    if not run.validated:
        return DASH, ""
    epoch, accuracy = run.validated[-1]
    return percent(accuracy), "" if run.last and epoch == run.last.epoch else f"epoch {epoch}"


def _best(run: Run) -> tuple[str, str]:
    return (percent(run.best[1]), f"epoch {run.best[0]}") if run.best else (DASH, "")


def _loss(run: Run) -> str:
    return number(run.last.loss) if run.last else DASH


def _speed(run: Run) -> str:
    if not run.epochs:
        return DASH
    speed = median(each.images_per_second for each in run.epochs)
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"


def _time(run: Run) -> str:
    return duration(sum(each.seconds for each in run.epochs)) if run.epochs else DASH


def _told(starts: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """What the starts of a run say, each thing once, and what stands beneath it."""
    pairs = list(starts)
    above, beneath = (
        listing(list(dict.fromkeys(pair[place] for pair in pairs if pair[place])))
        for place in (0, 1)
    )
    return above or DASH, beneath

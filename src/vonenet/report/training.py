"""The section on training: curves of runs, a table, and how their recipes differ.

runs = read_runs([Path("runs/base"), Path("runs/voneresnet18")])
losses = [[(epoch.epoch, epoch.loss) for epoch in run.epochs] for run in runs]
epoch_figure("loss", [Curve(style, loss) for style, loss in enumerate(losses)]).savefig("loss.pdf")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vonenet.report.page import (
    DASH,
    Panel,
    count,
    duration,
    first_column,
    inline_svg,
    number,
    percent,
)
from vonenet.report.plots import STYLES, house_style, logarithmic, new_figure, series_style
from vonenet.report.training_runs import Points, Run
from vonenet.results import EpochRecord

LOG_FACTOR = 20  # values that span more are drawn on a logarithmic axis
STEPWISE = {"step", "constant"}  # schedules that never come down to 0
MARKED = 12  # up to so many epochs each have a mark, of more only FEW
FEW = 6
NAMED_RUNS = 3  # up to so many are named in the verdict
# Fields of a recipe that say what the training task is, and which images validate
TASK_FIELDS = ("augmentation.", "optimization.label_smoothing")
VALIDATION_FIELDS = ("data.image_size", "data.in_chans", "data.validation_")
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
# Columns of the terminal's table, and their widths
TEXT_COLUMNS = {
    "epochs": 10,
    "validation, %": 15,
    "best, % (epoch)": 17,
    "loss": 9,
    "images/s": 10,
    "time": 13,
}


@dataclass(frozen=True)
class Training:
    """The section on training.

    Attributes:
        finding: Where the runs ended.
        legend: Label and style of each run that is drawn.
        panels: Figures.
        rows: Label, network, and each of COLUMNS with what stands beneath it.
        compared: Labels of the runs that have a recipe.
        differences: Fields in which their recipes differ, and the value in each.
        cautions: What these differences mean for the figures.
        commands: Label and the commands by which the run was started, each once.
    """

    finding: str
    legend: Sequence[tuple[str, int]]
    panels: Sequence[Panel]
    rows: Sequence[tuple[str, str, Sequence[tuple[str, str]]]]
    compared: Sequence[str]
    differences: Sequence[tuple[str, Sequence[str]]]
    cautions: Sequence[str]
    commands: Sequence[tuple[str, Sequence[str]]]
    columns: Sequence[str] = COLUMNS


def training_section(runs: Sequence[Run], models: Mapping[str, int]) -> Training:
    """Return the section of one or more runs.

    Args:
        runs: In order of appearance.
        models: Label -> style of the models that are drawn elsewhere on the page; a run of the
            same label is drawn in the same style.
    """
    drawn = drawn_runs(runs, models)
    differences = differing_fields(runs)
    commands = [
        (run.label, list(dict.fromkeys(each.command for each in run.starts))) for run in runs
    ]
    return Training(
        finding=training_finding(runs),
        legend=[(run.label, style) for style, run in drawn],
        panels=_panels(drawn),
        rows=[(run.label, run.network, training_cells(run)) for run in runs],
        compared=[run.label for run in runs if run.recipe],
        differences=differences,
        cautions=_cautions(runs, [name for name, _ in differences]),
        commands=[(label, told) for label, told in commands if any(told)],
    )


def training_finding(runs: Sequence[Run]) -> str:
    """Return where the runs ended, without full stop."""
    if len(runs) <= NAMED_RUNS:
        return "; ".join(_ending(run) for run in runs)
    validated = [run for run in runs if run.validated]
    if not validated:
        return f"{len(runs)} training runs, none of them validated"
    best = max(validated, key=lambda run: run.validated[-1][1])
    return f"{_ending(best)}, the highest of {len(runs)} runs"


def _ending(run: Run) -> str:
    if run.last is None:
        return f"{run.label}: no epoch has ended"
    done = run.last.epoch
    epochs = f"{done} of {count(run.planned, 'epoch')}" if run.planned else count(done, "epoch")
    if not run.validated:
        return f"{run.label}: training loss {number(run.last.loss)} after {epochs}"
    epoch, accuracy = run.validated[-1]
    late = "" if epoch == done else f" (validated after {epoch})"
    return f"{run.label}: {percent(accuracy)}% validation accuracy after {epochs}{late}"


def _cautions(runs: Sequence[Run], differing: Sequence[str]) -> list[str]:
    attacked = any(run.recipe.get("adversarial", {}).get("epsilon") for run in runs)
    task = (*TASK_FIELDS, "adversarial.") if attacked else TASK_FIELDS
    pairs = (
        (task, "Training losses and accuracies are not of the same task"),
        (VALIDATION_FIELDS, "Validation accuracies are not of the same images"),
    )
    return [
        f"{caution}: recipes differ in {', '.join(found)}."
        for beginnings, caution in pairs
        if (found := [name for name in differing if name.startswith(beginnings)])
    ]


def differing_fields(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return fields in which the recipes of runs differ, and the value in each recipe."""
    fields = [dict(_fields(run.recipe)) for run in runs if run.recipe]
    names = dict.fromkeys(name for own in fields for name in own)
    rows = [(name, [own.get(name, DASH) for own in fields]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _fields(table: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4g}"
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str, ensure_ascii=False).strip('"')


def drawn_runs(runs: Sequence[Run], models: Mapping[str, int]) -> list[tuple[int, Run]]:
    """Return the best runs in order of appearance, each with its style; see `training_section`."""

    def rank(run: Run) -> tuple[float, float]:
        loss = run.epochs[-1].loss
        return (run.validated[-1][1] if run.validated else -1.0, -loss if isfinite(loss) else -inf)

    started = [run for run in runs if run.epochs]
    best = sorted(started, key=rank, reverse=True)[:STYLES]
    chosen = [run for run in started if run in best]
    styles = {run.label: models[run.label] for run in chosen if run.label in models}
    # Those of models come last; style 0 is a base's.
    free = [style for style in (*range(1, STYLES), 0) if style not in styles.values()]
    free.sort(key=lambda style: style in models.values())
    for run in chosen:
        if run.label not in styles:
            as_base = run.is_base and 0 in free and 0 not in models.values()
            styles[run.label] = 0 if as_base else free[0]
            free.remove(styles[run.label])
    return [(styles[run.label], run) for run in chosen]


@dataclass(frozen=True)
class Curve:
    """One run's line.

    Attributes:
        style: Number of colour, marker and dashes.
        points: (epoch, value), ascending; what is not finite breaks the line.
        thin: Points of a second line, without marks.
    """

    style: int
    points: Points
    thin: Points = ()

    @property
    def values(self) -> list[float]:
        """All finite values."""
        return [value for _, value in (*self.points, *self.thin) if isfinite(value)]


def _panels(drawn: Sequence[tuple[int, Run]]) -> list[Panel]:
    def curves(value: Callable[[EpochRecord], float]) -> list[Curve]:
        return [Curve(style, [(e.epoch, value(e)) for e in run.epochs]) for style, run in drawn]

    loss, training = curves(lambda each: each.loss), curves(lambda each: 100 * each.accuracy)
    validation = [
        Curve(style, [(epoch, 100 * share) for epoch, share in run.validated], curve.points)
        for curve, (style, run) in zip(training, drawn, strict=True)
    ]
    rate = curves(lambda each: each.learning_rate)
    stepwise = all(
        run.recipe.get("optimization", {}).get("schedule") in STEPWISE for _, run in drawn
    )
    gaps = "Mean over each epoch; a gap: not finite."
    shown = [("Training loss", "loss", loss, True, gaps)]
    if any(run.validated for _, run in drawn):
        thin = "Thin lines without marks: training accuracy."
        shown.append(("Validation accuracy", "accuracy, %", validation, False, thin))
    else:
        shown.append(("Training accuracy", "accuracy, %", training, False, "No run was validated."))
    shown.append(
        ("Learning rate", "learning rate", rate, stepwise, "At the last step of each epoch.")
    )
    return [
        Panel(name, inline_svg(epoch_figure(axis, found, may_be_log=log), name), caption)
        for name, axis, found, log, caption in shown
        if any(curve.values for curve in found)
    ]


@house_style()
def epoch_figure(name: str, curves: Sequence[Curve], *, may_be_log: bool = False) -> Figure:
    """Draw values against epochs.

    Args:
        name: What the values are.
        curves: At least one has a finite value.
        may_be_log: Whether the axis is logarithmic where values span a factor of 20 or more.
    """
    figure, axes = new_figure()
    values = [value for curve in curves for value in curve.values]
    for curve in curves:
        style = series_style(curve.style)
        n = len(curve.points)
        marks = range(n) if n <= MARKED else [round(i * (n - 1) / (FEW - 1)) for i in range(FEW)]
        axes.plot(*_xy(curve.points), **style, markersize=8, markevery=list(marks))
        axes.plot(*_xy(curve.thin), color=style["color"], lw=1, alpha=0.55)
    low, high = min(values), max(values)
    if may_be_log and 0 < LOG_FACTOR * low < high:
        logarithmic(axes.yaxis)
        name += " (logarithmic axis)"
    elif low < high / 2 or len({epoch for curve in curves for epoch, _ in curve.points}) == 1:
        axes.set_ylim(min(0, 1.05 * low), 1.05 * high or 1)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(title=name, xlabel="epoch")
    return figure


def _xy(points: Points) -> npt.NDArray[np.float64]:
    """Epochs and values, (2, points)."""
    return np.array(points, np.float64).reshape(-1, 2).T


def training_cells(run: Run) -> list[tuple[str, str]]:
    """Return what COLUMNS say of a run, each with what stands beneath it."""
    state = ["finished"] if run.finished else ["not finished"] if run.planned else []
    state += [f"{len(run.starts)} starts"] if len(run.starts) > 1 else []
    final = best = (DASH, "")
    if run.validated and run.last:
        epoch, accuracy = run.validated[-1]
        final = (percent(accuracy), "" if epoch == run.last.epoch else f"epoch {epoch}")
    if run.best:
        best = (percent(run.best[1]), f"epoch {run.best[0]}")
    done = run.last.epoch if run.last else 0
    speed = median(each.images_per_second for each in run.epochs) if run.epochs else 0
    return [
        (f"{done} of {run.planned}" if run.planned else f"{done}", ", ".join(state)),
        final,
        best,
        (number(run.last.loss) if run.last else DASH, ""),
        ((f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}") if run.epochs else DASH, ""),
        (duration(sum(each.seconds for each in run.epochs)) if run.epochs else DASH, ""),
        (
            _each_once(s.processes for s in run.starts) or DASH,
            _each_once(s.machine for s in run.starts),
        ),
        (
            _each_once(s.commit for s in run.starts) or DASH,
            _each_once(s.versions for s in run.starts),
        ),
    ]


def _each_once(words: Iterable[str]) -> str:
    return ", then ".join(dict.fromkeys(filter(None, words)))


def training_table(runs: Sequence[Run]) -> str:
    """Return the runs for a terminal, one line each."""
    rows = [list(TEXT_COLUMNS)]
    for run in runs:
        cells = training_cells(run)[: len(TEXT_COLUMNS)]
        epochs = [beneath.removeprefix("epoch ") for _, beneath in cells[1:3]]
        told = [
            f"{cell[0]} ({epoch})" if epoch else cell[0]
            for cell, epoch in zip(cells[1:3], epochs, strict=True)
        ]
        rows.append([cells[0][0], *told, *(cell for cell, _ in cells[3:])])
    names = first_column(["training", *(run.label for run in runs)])
    return "\n".join(
        name + "".join(f"{cell:>{w}}" for cell, w in zip(row, TEXT_COLUMNS.values(), strict=True))
        for name, row in zip(names, rows, strict=True)
    )

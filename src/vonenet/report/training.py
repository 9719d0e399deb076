"""Folders that `vonenet train` wrote -> the section on training: curves, a table, differences.

runs = read_runs([Path("runs/base"), Path("runs/voneresnet18")])
runs[0].validated[-1].validation_accuracy    # 0.35
losses = [[(epoch.epoch, epoch.loss) for epoch in run.epochs] for run in runs]
epoch_figure("loss", [Curve(style, loss) for style, loss in enumerate(losses)]).savefig("loss.pdf")
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vonenet.errors import InputError
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
from vonenet.results import LOG, RECIPE, RUN, EpochRecord, read_lines

# Limits of the numbers of an epoch; those of NAN_ALLOWED may be no number
LIMITS = {
    "epoch": (1, inf),
    "loss": (-inf, inf),
    "accuracy": (0, 1),
    "learning_rate": (0, sys.float_info.max),
    "images_per_second": (0, sys.float_info.max),
    "seconds": (0, sys.float_info.max),
    "validation_accuracy": (0, 1),
}
NAN_ALLOWED = {"loss", "accuracy", "validation_accuracy"}
LOG_FACTOR = 20  # values that span more are drawn on a logarithmic axis
STEPWISE = {"step", "constant"}  # schedules that never come down to 0
MARKED = 12  # up to so many epochs each have a mark, of more only FEW
FEW = 6
NAMED_RUNS = 3  # up to so many are named in the verdict
# Fields of a recipe that say what the training task is, and which images validate
TASK_FIELDS = ("augmentation.", "optimization.label_smoothing")
VALIDATION_FIELDS = ("data.image_size", "data.in_chans", "data.validation_")
# Columns of the terminal's table, and their widths
TEXT_COLUMNS = {
    "epochs": 10,
    "validation, %": 28,
    "best, %": 29,
    "loss": 9,
    "images/s": 10,
    "time": 13,
}

Points = Sequence[tuple[int, float]]  # epoch, value


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        label: The folder's name, as evaluations call its model.
        recipe: Tables of recipe.toml; empty without that file.
        epochs: Finished ones, ascending.
        starts: Each time that it was started: command, processes, machine, commit and versions, as
            far as run.json tells.
        planned: Epochs of the recipe.
        finished: Whether all epochs were trained.
        is_base: Whether it trained the network that a VOneNet is compared with.
        validated: Those of the epochs that have a validation accuracy.
    """

    label: str
    recipe: Mapping[str, Mapping[str, Any]]
    epochs: Sequence[EpochRecord]
    starts: Sequence[Mapping[str, str]]
    planned: int | None
    finished: bool
    is_base: bool
    validated: Sequence[EpochRecord]

    @property
    def done(self) -> int:
        """The last finished epoch; 0 before."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def network(self) -> str:
        """What was trained."""
        name = str(self.recipe.get("model", {}).get("name", ""))
        return f"base network of {name}" if name and self.is_base else name


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read what `vonenet train` wrote.

    Args:
        folders: Different ones. Of recipe.toml, run.json and log.jsonl any may be missing.

    Raises:
        InputError: Something in a folder is not what it should be.
    """
    return [_read_run(*pair) for pair in zip(folders, _labels(folders), strict=True)]


def _labels(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, longer by parent folders where names are equal."""
    parts = [folder.resolve().parts for folder in folders]
    labels = []
    for own in parts:
        length = 1
        while length < len(own) and sum(each[-length:] == own[-length:] for each in parts) > 1:
            length += 1
        labels.append("/".join(own[-length:]))
    return labels


def _read_run(folder: Path, label: str) -> Run:
    recipe = _read(folder / RECIPE, tomllib.loads)
    for name, table in recipe.items():
        if not isinstance(table, dict):
            raise InputError(f"{folder / RECIPE} has {name}={table!r}; allowed: tables only")
    planned = recipe.get("optimization", {}).get("epochs")
    if planned is not None and (type(planned) is not int or planned < 1):
        raise InputError(
            f"{folder / RECIPE} has optimization.epochs={planned!r}; allowed: 1 or more"
        )
    described = _read(folder / RUN, json.loads)
    try:
        starts = [_start(each) for each in described.get("starts", [])]
    except (AttributeError, TypeError) as error:
        raise InputError(f"{folder / RUN} does not describe the starts of a run") from error
    epochs = read_epochs(folder / LOG)
    validated = [each for each in epochs if each.validation_accuracy is not None]
    all_done = bool(epochs) and epochs[-1].epoch == planned
    return Run(
        label,
        recipe,
        epochs,
        starts,
        planned,
        finished=bool(described.get("finished")) or all_done,
        is_base=bool(recipe.get("model", {}).get("base", False)),
        validated=validated,
    )


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Read a file of names and values; return nothing if it is not there."""
    if not path.is_file():
        return {}
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # of the encoding, of TOML, of JSON
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds {type(content).__name__}, not names")
    return content


def _start(facts: Mapping[str, Any]) -> dict[str, str]:
    if type(facts.get("processes")) not in (int, type(None)):
        raise TypeError
    machine, versions, git = (facts.get(name) or {} for name in ("machine", "versions", "git"))
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    commit = str(git.get("commit") or "")[:7]
    packages = [f"{name} {versions[name]}" for name in ("vonenet", "torch") if name in versions]
    return {
        "command": str(facts.get("command") or ""),
        "processes": str(facts.get("processes") or ""),
        "machine": str(
            machine.get("gpu") or ", ".join(filter(None, [machine.get("processor"), cores]))
        ),
        "commit": f"{commit}, changed" if git.get("changed") else commit,
        "versions": ", ".join(packages),
    }


def read_epochs(path: Path) -> list[EpochRecord]:
    """Read the finished epochs of a log, ascending; none where there is no log.

    Of an epoch that is there twice the later line counts. A last line cut short by a kill is left
    out with a `VOneNetWarning`.

    Raises:
        InputError: The file cannot be read, or another line is not what a training writes.
    """
    epochs = {}
    for line_number, line in read_lines(path) if path.is_file() else ():
        try:
            entry = json.loads(line)
            if entry["kind"] == "epoch":
                record = _record(entry)
                epochs[record.epoch] = record
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            where = f"line {line_number} of {path}"
            raise InputError(f"{where} is not a line of a training log: {why}") from error
    return [epochs[epoch] for epoch in sorted(epochs)]


def _record(entry: dict[str, Any]) -> EpochRecord:
    values: dict[str, Any] = {}
    for name, (low, high) in LIMITS.items():
        value = entry.get(name, nan) if name == "validation_accuracy" else entry[name]
        if type(value) not in ((int,) if name == "epoch" else (int, float)):
            raise ValueError(f"{name} {value!r} is no number")
        if not (low <= value <= high or (name in NAN_ALLOWED and isnan(value))):
            raise ValueError(f"{name} {value}; allowed: {low} to {high:g}")
        values[name] = value if name == "epoch" else float(value)
    accuracy = values["validation_accuracy"]
    if isnan(accuracy):
        return EpochRecord(**values | {"validation_accuracy": None})
    n, ends = entry.get("validation_n"), entry.get("validation_interval")
    if n is None and ends is None:  # as earlier versions wrote it
        return EpochRecord(**values)
    low, high = ends or (nan, nan)
    if type(n) is not int or not (n >= 1 and 0 <= low <= accuracy <= high <= 1):
        raise ValueError(f"validation_n {n} and validation_interval {ends} do not fit {accuracy}")
    return EpochRecord(**values, validation_n=n, validation_interval=(low, high))


def training_section(runs: Sequence[Run], models: Mapping[str, int]) -> dict[str, Any]:
    """Return what the page shows of one or more runs.

    Args:
        runs: In order of appearance.
        models: Label -> style of the models that are drawn elsewhere on the page; a run of the
            same label is drawn in the same style.
    """
    drawn = drawn_runs(runs, models)
    differences = differing_fields(runs)
    commands = {run.label: list(dict.fromkeys(s["command"] for s in run.starts)) for run in runs}
    return {
        "finding": training_finding(runs),
        "legend": [(run.label, style) for style, run in drawn],
        "panels": _panels(drawn),
        "rows": [(run.label, run.network, training_cells(run)) for run in runs],
        "compared": [run.label for run in runs if run.recipe],
        "differences": differences,
        "cautions": _cautions(runs, [name for name, _ in differences]),
        "commands": [(label, shown) for label, shown in commands.items() if any(shown)],
    }


def training_finding(runs: Sequence[Run]) -> str:
    """Return where the runs ended, without full stop."""
    if len(runs) <= NAMED_RUNS:
        return "; ".join(_ending(run) for run in runs)
    validated = [run for run in runs if run.validated]
    if not validated:
        return f"{len(runs)} training runs, none of them validated"
    best = max(validated, key=lambda run: _accuracy(run.validated[-1]))
    return f"{_ending(best)}, the highest of {len(runs)} runs"


def _ending(run: Run) -> str:
    if not run.epochs:
        return f"{run.label}: no epoch has ended"
    epochs = count(run.planned or run.done, "epoch")
    after = f"after {run.done} of {epochs}" if run.planned else f"after {epochs}"
    if not run.validated:
        return f"{run.label}: training loss {number(run.epochs[-1].loss)} {after}"
    last = run.validated[-1]
    late = "" if last.epoch == run.done else f" (validated after {last.epoch})"
    found = f"{percent(_accuracy(last))}% validation accuracy"
    if last.validation_n:
        found += f" {_interval(last)} of {count(last.validation_n, 'image')}"
    return f"{run.label}: {found} {after}{late}"


def _accuracy(epoch: EpochRecord) -> float:
    return nan if epoch.validation_accuracy is None else epoch.validation_accuracy


def _interval(epoch: EpochRecord) -> str:
    """Return the validation accuracy's interval in percent; "" where it is not known."""
    low, high = _ends(epoch)
    return "" if isnan(low) else f"[{percent(low)}, {percent(high)}]"


def _ends(epoch: EpochRecord) -> tuple[float, float]:
    return epoch.validation_interval or (nan, nan)


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
        accuracy = _accuracy(run.validated[-1]) if run.validated else -1.0
        return accuracy, -loss if isfinite(loss) else -inf

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


class Curve(NamedTuple):
    """One run's line.

    Attributes:
        style: Number of colour, marker and dashes.
        points: (epoch, value), ascending; what is not finite breaks the line.
        thin: Points of a second line, without marks.
        band: Epoch, low and high end of the points' intervals, ascending.
    """

    style: int
    points: Points
    thin: Points = ()
    band: Sequence[Sequence[float]] = ()


def _panels(drawn: Sequence[tuple[int, Run]]) -> list[Panel]:
    def curves(value: Callable[[EpochRecord], float]) -> list[Curve]:
        return [Curve(style, [(e.epoch, value(e)) for e in run.epochs]) for style, run in drawn]

    accuracy = curves(lambda each: 100 * each.accuracy)
    shown = ("Training accuracy", "accuracy, %", accuracy, False, "No run was validated.")
    if any(run.validated for _, run in drawn):
        validation = [
            Curve(
                style,
                [(each.epoch, 100 * _accuracy(each)) for each in run.validated],
                curve.points,
                [[each.epoch, *(100 * end for end in _ends(each))] for each in run.validated],
            )
            for curve, (style, run) in zip(accuracy, drawn, strict=True)
        ]
        about = "Bands: 95% intervals. Thin lines without marks: training accuracy."
        shown = ("Validation accuracy", "accuracy, %", validation, False, about)
    loss, rate = curves(lambda each: each.loss), curves(lambda each: each.learning_rate)
    schedules = {run.recipe.get("optimization", {}).get("schedule") for _, run in drawn}
    gaps, last = "Mean over each epoch; a gap: not finite.", "At the last step of each epoch."
    return [
        Panel(name, inline_svg(epoch_figure(axis, found, may_be_log=log), name), caption)
        for name, axis, found, log, caption in (
            ("Training loss", "loss", loss, True, gaps),
            shown,
            ("Learning rate", "learning rate", rate, schedules <= STEPWISE, last),
        )
        if _finite(found)
    ]


def _finite(curves: Sequence[Curve]) -> list[float]:
    """Return the finite values of curves."""
    points = (point for curve in curves for point in (*curve.points, *curve.thin))
    return [value for _, value in points if isfinite(value)]


@house_style()
def epoch_figure(name: str, curves: Sequence[Curve], *, may_be_log: bool = False) -> Figure:
    """Draw values against epochs.

    Args:
        name: What the values are.
        curves: At least one has a finite value.
        may_be_log: Whether the axis is logarithmic where values span a factor of 20 or more.
    """
    figure, axes = new_figure()
    for curve in curves:
        style = series_style(curve.style)
        n = len(curve.points)
        marks = range(n) if n <= MARKED else [round(i * (n - 1) / (FEW - 1)) for i in range(FEW)]
        axes.plot(*_columns(curve.points), **style, markersize=8, markevery=list(marks))
        axes.plot(*_columns(curve.thin), color=style["color"], lw=1, alpha=0.55)
        band: Any = np.array(curve.band, np.float64).reshape(-1, 3).T
        axes.fill_between(*band, color=style["color"], alpha=0.15, lw=0)
    values = _finite(curves)
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


def _columns(points: Points) -> Any:
    """Return epochs and values, (2, points)."""
    return np.array(points, np.float64).reshape(-1, 2).T


def training_cells(run: Run) -> list[tuple[str, str]]:
    """Return what the columns of the page say of a run, each with what stands beneath it."""
    state = ["finished"] if run.finished else ["not finished"] if run.planned else []
    state += [f"{len(run.starts)} starts"] if len(run.starts) > 1 else []
    final = best = (DASH, "")
    if run.validated:
        last, top = run.validated[-1], max(run.validated, key=_accuracy)  # the first of equals
        n = f"n {last.validation_n:,}" if last.validation_n else ""
        late = "" if last.epoch == run.done else f"epoch {last.epoch}"
        final = percent(_accuracy(last)), ", ".join(filter(None, [_interval(last), n, late]))
        about = ", ".join(filter(None, [_interval(top), f"epoch {top.epoch}"]))
        best = percent(_accuracy(top)), about
    loss = speed = time = DASH
    if run.epochs:
        rate = median(each.images_per_second for each in run.epochs)
        loss, speed = number(run.epochs[-1].loss), f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        time = duration(sum(each.seconds for each in run.epochs))
    starts = {
        key: ", then ".join(dict.fromkeys(s[key] for s in run.starts if s[key]))
        for key in ("processes", "machine", "commit", "versions")
    }
    return [
        (f"{run.done} of {run.planned}" if run.planned else f"{run.done}", ", ".join(state)),
        final,
        best,
        (loss, ""),
        (speed, ""),
        (time, ""),
        (starts["processes"] or DASH, starts["machine"]),
        (starts["commit"] or DASH, starts["versions"]),
    ]


def training_table(runs: Sequence[Run]) -> str:
    """Return the runs for a terminal, one line each."""
    rows = [list(TEXT_COLUMNS)]
    for run in runs:
        epochs, *others = training_cells(run)[: len(TEXT_COLUMNS)]
        rows.append([epochs[0]])
        for value, beneath in others:
            rows[-1].append(f"{value} {beneath}".rstrip())
    names = first_column(["training", *(run.label for run in runs)])
    return "\n".join(
        name + "".join(f"{cell:>{w}}" for cell, w in zip(row, TEXT_COLUMNS.values(), strict=True))
        for name, row in zip(names, rows, strict=True)
    )

"""The section on training: curves of runs against epochs, and a table of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

from markupsafe import Markup

from vonenet.report.curves import Axis, Curve, epoch_chart, factor_spanned
from vonenet.report.panels import Panel
from vonenet.report.recipes import Differences
from vonenet.report.svg import STYLES, swatch
from vonenet.report.trained import Run
from vonenet.report.training_log import Epoch
from vonenet.report.training_table import COLUMNS, training_cells
from vonenet.report.training_words import training_finding, training_notes
from vonenet.report.words import listing, number

LOG_FACTOR = 20  # values that span more are drawn on a logarithmic axis
STEPWISE = {"step", "constant"}  # schedules that never come down to 0


@dataclass(frozen=True)
class Training:
    """What the page says of training.

    Attributes:
        finding: heading.
        legend: label and sign of each run that is drawn.
        panels: charts.
        remark: on the charts.
        notes: on charts and table.
        columns: heads of the table's columns after the first.
        rows: label, network, and each column's text with what stands beneath it.
        recipes: how they differ.
        commands: label and the commands by which the run was started, each once.
    """

    finding: str
    legend: Sequence[tuple[str, Markup]]
    panels: Sequence[Panel]
    remark: str
    notes: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[tuple[str, str]]]]
    recipes: Differences
    commands: Sequence[tuple[str, Sequence[str]]]


def training_section(runs: Sequence[Run], models: Mapping[str, int]) -> Training:
    """The section of one or more runs.

    Args:
        runs: in order of appearance.
        models: label -> style of the models that are drawn elsewhere on the page; a run of the
            same label is drawn in the same style.
    """
    drawn = _drawn(runs, models)
    started = sum(bool(run.epochs) for run in runs)
    recipes = Differences.of(runs)
    left_out = (
        f"Charts show the {len(drawn)} runs of the highest last validation accuracy; the table "
        f"shows all {len(runs)}."
    )
    return Training(
        finding=training_finding(runs),
        legend=[(run.label, swatch(style)) for style, run in drawn],
        panels=_panels(drawn),
        remark=left_out if len(drawn) < started else "",
        notes=training_notes(runs, recipes),
        columns=COLUMNS,
        rows=[(run.label, run.network, training_cells(run)) for run in runs],
        recipes=recipes,
        commands=[(run.label, run.commands) for run in runs if run.commands],
    )


def _drawn(runs: Sequence[Run], models: Mapping[str, int]) -> list[tuple[int, Run]]:
    """The best runs in order of appearance, each with its style."""
    started = [run for run in runs if run.epochs]
    best = sorted(started, key=_rank, reverse=True)[:STYLES]
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


def _rank(run: Run) -> tuple[float, float]:
    """Last validation accuracy, then a low loss."""
    loss = run.epochs[-1].loss
    return (run.validated[-1][1] if run.validated else -1.0, -loss if isfinite(loss) else -inf)


def _panels(drawn: Sequence[tuple[int, Run]]) -> list[Panel]:
    panels = [_loss(drawn), _accuracy(drawn), _rate(drawn)]
    return [panel for panel in panels if panel is not None]


def _loss(drawn: Sequence[tuple[int, Run]]) -> Panel | None:
    curves = [_curve(style, run, lambda each: each.loss) for style, run in drawn]
    if not any(curve.drawn for curve in curves):
        return None
    axis = (Axis.log if factor_spanned(curves) > LOG_FACTOR else Axis.linear)(
        "loss", curves, number
    )
    broken = [curve.label for curve in curves if len(curve.drawn) < len(curve.points)]
    gaps = f" Not finite in some epochs, which are left out: {listing(broken)}." if broken else ""
    return Panel("Training loss", epoch_chart(axis, curves), f"Mean over each epoch.{gaps}")


def _accuracy(drawn: Sequence[tuple[int, Run]]) -> Panel | None:
    """Validation accuracy, training accuracy beside it; alone if no run was validated."""
    curves = [_curve(style, run, lambda each: 100 * each.accuracy) for style, run in drawn]
    validated = any(run.validated for _, run in drawn)
    if validated:
        curves = [
            replace(
                curve, points=[(e, 100 * share) for e, share in run.validated], thin=curve.points
            )
            for curve, (_, run) in zip(curves, drawn, strict=True)
        ]
    if not any(curve.drawn for curve in curves):
        return None
    axis = Axis.linear("accuracy, %", curves, lambda value: f"{value:.1f}%", finest=0)
    if not validated:
        return Panel("Training accuracy", epoch_chart(axis, curves), "No run was validated.")
    thin = "Thin lines without marks: training accuracy."
    return Panel("Validation accuracy", epoch_chart(axis, curves), thin)


def _rate(drawn: Sequence[tuple[int, Run]]) -> Panel | None:
    curves = [_curve(style, run, lambda each: each.learning_rate) for style, run in drawn]
    if not curves:
        return None
    stepwise = all(run.schedule in STEPWISE for _, run in drawn)
    kind = Axis.log if stepwise and factor_spanned(curves) > LOG_FACTOR else Axis.linear
    axis = kind("learning rate", curves, lambda value: f"{value:.3g}")
    return Panel("Learning rate", epoch_chart(axis, curves), "At the last step of each epoch.")


def _curve(style: int, run: Run, value: Callable[[Epoch], float]) -> Curve:
    return Curve(run.label, style, [(each.epoch, value(each)) for each in run.epochs])

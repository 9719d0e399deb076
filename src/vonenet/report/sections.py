"""The table of means, the differences from the base, and every number, ready for the template."""

from __future__ import annotations

from typing import TypeAlias

from markupsafe import Markup

from vonenet.report.charts import Contrast, difference_chart
from vonenet.report.findings import Tally
from vonenet.report.measured import Model
from vonenet.report.panels import Details, Number, Panel, Section
from vonenet.report.scores import MEASURES, score_difference
from vonenet.report.setting import CATEGORIES, EXTRA
from vonenet.report.study import Study
from vonenet.report.svg import swatch
from vonenet.report.words import NORMS, count, percent, percent_interval

SummaryRow: TypeAlias = tuple[Model, list[Number], int]

CONTRASTS = {
    "clean": "clean",
    "corruption": "corruptions",
    **{category: f"\N{EN DASH} {category}" for category in CATEGORIES},
    "white_box": "white box",
    **{norm: f"\N{EN DASH} {words}" for norm, words in NORMS.items()},
    "perturbation": "perturbation",
    "overall": "overall",
}


def summary_table(study: Study) -> tuple[list[str], list[SummaryRow]]:
    """Heads of the columns, and each model with its means and the number of failed checks."""
    measures = dict(MEASURES)
    if any(EXTRA in scores for scores in study.scores.values()):
        measures[EXTRA] = "extra corruptions"
    rows = [
        (model, [_score(study, model, measure) for measure in measures], len(study.failures(model)))
        for model in study.models
    ]
    return list(measures.values()), rows


def legend(study: Study) -> list[tuple[str, Markup]]:
    """Label and sign of each model that is drawn."""
    return [(model.label, swatch(style)) for style, model in study.drawn]


def difference_section(study: Study) -> Section | None:
    """The means' differences from the base, a chart for each model; None if there are none."""
    contrasts = {model.label: _contrasts(study, model) for _, model in study.drawn[1:]}
    known = [c.difference for each in contrasts.values() for c in each if c.difference]
    if not known:
        return None
    ends = 100 * min(gain.low for gain in known), 100 * max(gain.high for gain in known)
    panels = [
        Panel(
            model.label,
            difference_chart(model.label, style, contrasts[model.label], ends),
            swatch=swatch(style),
        )
        for style, model in study.drawn[1:]
    ]
    finding = study.finding(lambda _: True, "condition", "conditions")
    return Section(finding or f"Differences from {study.base.label}", panels)


def details(study: Study) -> list[Details]:
    """Every number, for each model but the base; for the base where it is alone."""
    return [_details(study, model) for model in study.others or [study.base]]


def _score(study: Study, model: Model, measure: str) -> Number:
    own, base = (study.scores[each.label].get(measure) for each in (model, study.base))
    if own is None:
        return Number()
    if model is study.base:
        return Number.of(own.estimate)
    gain = score_difference(own, base)
    if base is not None and gain is None:
        return Number(percent(own.estimate.value), percent_interval(own.estimate), "other settings")
    return Number.of(own.estimate, gain)


def _contrasts(study: Study, model: Model) -> list[Contrast]:
    """Lines of what both models have."""
    found = []
    for measure, name in CONTRASTS.items():
        own, base = (study.scores[each.label].get(measure) for each in (model, study.base))
        if own is not None and base is not None:
            found.append(Contrast(name, score_difference(own, base), measure in MEASURES))
    return found


def _details(study: Study, model: Model) -> Details:
    gains = study.differences.get(model.label, {})
    rows = []
    for setting, accuracy in model.accuracies.items():
        base = study.base.accuracies.get(setting)
        rows.append(
            (
                setting.label,
                Number.of(base.estimate) if base else Number(),
                Number.of(accuracy.estimate, gains.get(setting)),
                f"{accuracy.rows[0].n:,}",
            )
        )
    tally = Tally.of(list(gains.values()))
    told = f"{tally.more} better, {tally.less} worse, {tally.alike} not told apart"
    words = count(len(rows), "condition") + (f": {told}" if tally.total else "")
    return Details(model.label, model.hash, words, rows)

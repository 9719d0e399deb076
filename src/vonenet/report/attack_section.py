"""The section on white-box attack: accuracy against radius for each norm, other attacks beside."""

from __future__ import annotations

from collections.abc import Sequence

from vonenet.report.charts import Series, accuracy_chart
from vonenet.report.measured import Model
from vonenet.report.panels import Number, Panel, Section
from vonenet.report.setting import CLEAN, Setting
from vonenet.report.study import Study
from vonenet.report.words import NORMS, percent


def attack_section(study: Study) -> Section | None:
    """A chart for each norm; attacks other than the paper's PGD in a table; None without any."""
    attacks = [setting for setting in study.settings if setting.kind == "attack"]
    if not attacks:
        return None
    norms = [norm for norm in NORMS if any(s.is_plain_pgd and s.group == norm for s in attacks)]
    other = [setting for setting in attacks if not setting.is_plain_pgd]
    finding = study.finding(lambda s: s.is_plain_pgd, "PGD attack", "PGD attacks")
    models = [model for _, model in study.drawn]
    return Section(
        finding or "Accuracy under white-box attack",
        [_panel(study, norm) for norm in norms],
        [model.label for model in models],
        [(setting.label, [_number(study, m, setting) for m in models]) for setting in other],
        _stronger(models, other),
    )


def _panel(study: Study, norm: str) -> Panel:
    words = NORMS[norm]
    found = study.finding(
        lambda s: s.is_plain_pgd and s.group == norm, f"{words} radius", f"{words} radii"
    )
    series = [_series(style, model, norm) for style, model in study.drawn]
    return Panel(words, accuracy_chart(norm, [s for s in series if s.attacked]), found or "")


def _series(style: int, model: Model, norm: str) -> Series:
    attacked = {
        setting.strength: accuracy.estimate
        for setting, accuracy in model.accuracies.items()
        if setting.is_plain_pgd and setting.group == norm
    }
    clean = model.accuracies[CLEAN].estimate if CLEAN in model.accuracies else None
    return Series(model.label, style, clean, sorted(attacked.items(), key=lambda item: item[0]))


def _number(study: Study, model: Model, setting: Setting) -> Number:
    if setting not in model.accuracies:
        return Number()
    gain = study.differences.get(model.label, {}).get(setting)
    return Number.of(model.accuracies[setting].estimate, gain)


def _stronger(models: Sequence[Model], other: Sequence[Setting]) -> str:
    """Whether an attack other than PGD takes clearly more than PGD at the same radius."""
    compared, stronger = 0, []
    for model in models:
        for setting in other:
            pgd = Setting("attack", "pgd", setting.group, setting.strength)
            if {setting, pgd} <= model.accuracies.keys():
                own, known = (model.accuracies[each].estimate for each in (setting, pgd))
                compared += 1
                if own.high < known.low:
                    figures = f"{percent(own.value)}% against {percent(known.value)}%"
                    stronger.append(f"{setting.label} on {model.label} ({figures})")
    if not compared:
        return ""
    if not stronger:
        return "None of them takes clearly more than PGD at the same radius (intervals overlap)."
    return f"Stronger than PGD at the same radius: {'; '.join(stronger)}. The lower number holds."

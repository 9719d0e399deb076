"""The section on common corruptions: a heat map of type by severity for each model."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from vonenet.report.differences import Estimate
from vonenet.report.findings import Tally, comparison
from vonenet.report.heatmap import Line, Shades, heat_map
from vonenet.report.measured import Model
from vonenet.report.panels import Panel, Section
from vonenet.report.scores import score_difference, types_of
from vonenet.report.setting import CATEGORIES, EXTRA, Setting
from vonenet.report.study import Study
from vonenet.report.svg import swatch


def corruption_section(study: Study) -> Section | None:
    """Accuracies of the base, differences of the others; None without corruptions."""
    corrupted = [setting for setting in study.settings if setting.kind == "corruption"]
    if not corrupted:
        return None
    tallies = {model.label: _tally(study, model) for model in study.others}
    finding = comparison(tallies, study.base.label, "type of corruption", "types of corruption")
    maps = [_map(study, style, model, corrupted) for style, model in study.drawn]
    return Section(finding or "Accuracy under common corruption", [m for m in maps if m])


def _tally(study: Study, model: Model) -> Tally:
    """Types of the paper's mean, each over its severities."""
    gains = [gain for c in CATEGORIES for gain in _type_differences(study, model, c).values()]
    return Tally.of([gain for gain in gains if gain])


def _type_differences(study: Study, model: Model, category: str) -> dict[str, Estimate | None]:
    base = types_of(study.base, category)
    own = types_of(model, category)
    return {name: score_difference(score, base.get(name)) for name, score in own.items()}


def _map(study: Study, style: int, model: Model, corrupted: list[Setting]) -> Panel | None:
    """Differences where the base can be compared, else accuracies."""
    gains = study.differences.get(model.label, {})
    of_differences = any(setting in gains for setting in corrupted)
    numbers = gains if of_differences else _estimates(model)
    if not any(setting in numbers for setting in corrupted):
        return None
    categories = {}
    for category in (*CATEGORIES, EXTRA):
        means = _means(study, model, category, of_differences)
        if names := list(dict.fromkeys(s.name for s in corrupted if s.group == category)):
            title = f"{category} (outside the mean)" if category == EXTRA else category
            categories[title] = [_line(name, category, numbers, means) for name in names]
    severities = sorted({int(setting.strength) for setting in corrupted})
    shades = Shades(of_differences, _largest(study) if of_differences else 1.0)
    what = f"difference from {study.base.label}, points" if of_differences else "accuracy, %"
    picture = heat_map(f"{model.label}: {what}", categories, severities, shades)
    return Panel(model.label, picture, what, swatch(style))


def _estimates(model: Model) -> dict[Setting, Estimate]:
    return {setting: accuracy.estimate for setting, accuracy in model.accuracies.items()}


def _means(
    study: Study, model: Model, category: str, of_differences: bool
) -> Mapping[str, Estimate | None]:
    if of_differences:
        return _type_differences(study, model, category)
    return {name: score.estimate for name, score in types_of(model, category).items()}


def _line(
    name: str,
    category: str,
    numbers: Mapping[Setting, Estimate],
    means: Mapping[str, Estimate | None],
) -> Line:
    cells = {
        int(setting.strength): number
        for setting, number in numbers.items()
        if setting.kind == "corruption" and (setting.name, setting.group) == (name, category)
    }
    return Line(Setting("corruption", name).title, cells, means.get(name))


def _largest(study: Study) -> float:
    """The largest difference under corruption of any map, up to whole tens of points."""
    sizes = [
        abs(gain.value)
        for _, model in study.drawn[1:]
        for setting, gain in study.differences[model.label].items()
        if setting.kind == "corruption"
    ]
    return max(0.1, ceil(10 * max(sizes)) / 10)

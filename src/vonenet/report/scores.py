"""One model's accuracies -> the means that the VOneNet paper reports, as far as rows allow.

Definitions (science.md 3.3): white box = mean over the paper's PGD settings; corruption = mean over
severities, then types, then the four categories; perturbation = mean of those two; overall = mean
of white box, corruption and clean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose

from vonenet.report.differences import Estimate, difference, mean_estimate
from vonenet.report.measured import Accuracy, Model
from vonenet.report.setting import CATEGORIES, CLEAN, EXTRA, Setting

# Dapello, Marques et al. 2020 (science.md 3.1), for images of 224 px.
PAPER_RADII = {"linf": (1 / 1020, 1 / 255), "l2": (0.15, 0.6), "l1": (40.0, 160.0)}

MEASURES = {
    "clean": "clean",
    "corruption": "corruptions",
    "white_box": "white box",
    "perturbation": "perturbation mean",
    "overall": "overall mean",
}


@dataclass(frozen=True)
class Score:
    """A mean and what it is over; scores over different settings are not compared.

    Attributes:
        estimate: the mean accuracy.
        over: settings that went in, attacks at the radii published for 224 px.
    """

    estimate: Estimate
    over: frozenset[Setting]


def scores_of(model: Model) -> dict[str, Score]:
    """The means that a model's rows allow.

    Returns:
        Some of the keys of `MEASURES`, the categories of corruption and the norms.
    """
    found = {c: _mean(list(t.values())) for c in (*CATEGORIES, EXTRA) if (t := types_of(model, c))}
    if CLEAN in model.accuracies:
        found["clean"] = _single(CLEAN, model.accuracies[CLEAN])
    if categories := [found[c] for c in CATEGORIES if c in found]:
        found["corruption"] = _mean(categories)
    paper = {setting: _single(setting, a) for setting, a in paper_attacks(model).items()}
    for norm in PAPER_RADII:
        if own := [score for setting, score in paper.items() if setting.group == norm]:
            found[norm] = _mean(own)
    if paper:
        found["white_box"] = _mean(list(paper.values()))
    for name, parts in {
        "perturbation": ("corruption", "white_box"),
        "overall": ("clean", "corruption", "white_box"),
    }.items():
        if all(part in found for part in parts):
            found[name] = _mean([found[part] for part in parts])
    return found


def types_of(model: Model, category: str) -> dict[str, Score]:
    """Mean over severities of each type of corruption in a category."""
    grouped: dict[str, list[Score]] = defaultdict(list)
    for setting, accuracy in model.accuracies.items():
        if setting.kind == "corruption" and setting.group == category:
            grouped[setting.name].append(_single(setting, accuracy))
    return {name: _mean(severities) for name, severities in grouped.items()}


def score_difference(score: Score | None, base: Score | None) -> Estimate | None:
    """A score less the base's; None where one is missing or they are over different settings."""
    if score is None or base is None or score.over != base.over:
        return None
    return difference(score.estimate, base.estimate)


def paper_attacks(model: Model) -> dict[Setting, Accuracy]:
    """The paper's PGD settings among a model's rows, by the radii published for 224 px."""
    found = {}
    for norm, radii in PAPER_RADII.items():
        for radius in radii:
            for setting, accuracy in model.accuracies.items():
                if setting.is_plain_pgd and setting.group == norm:
                    published = accuracy.column("published_epsilon") or setting.strength
                    if isclose(float(str(published)), radius, rel_tol=1e-6):
                        found[Setting("attack", "pgd", norm, radius)] = accuracy
    return found


def _single(setting: Setting, accuracy: Accuracy) -> Score:
    return Score(accuracy.estimate, frozenset([setting]))


def _mean(scores: Sequence[Score]) -> Score:
    over = frozenset[Setting]().union(*(score.over for score in scores))
    return Score(mean_estimate([score.estimate for score in scores]), over)

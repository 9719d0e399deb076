"""A VOneNet beside its base on one self-contained page: verdict, table, chart, examples, V1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vonenet.errors import InputError
from vonenet.report.page import write_html
from vonenet.report.setting import Setting
from vonenet.report.summary import MEASURES, Summary, by_model, summarise, verdict
from vonenet.results import Result

GROUPS = {
    "clean": "Clean images",
    "corruption": "Common corruptions",
    "attack": "White-box attacks",
}


@dataclass(frozen=True)
class Decision:
    """What one model said of a picture."""

    model: str
    answer: str
    correct: bool


@dataclass(frozen=True)
class Tile:
    """One picture with what the models said of it."""

    caption: str
    picture: str
    decisions: Sequence[Decision]


@dataclass(frozen=True)
class Example:
    """One test image in every condition."""

    label: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Cell:
    """One V1 cell's kernel and its responses to the photograph, as picture addresses."""

    caption: str
    kernel: str
    mean_response: str
    noisy_response: str


@dataclass(frozen=True)
class V1Figures:
    """The drawn filters and the responses to one photograph."""

    filters: str
    filters_caption: str
    photograph: str
    photograph_credit: str
    simple: Sequence[Cell]
    complex: Sequence[Cell]


@dataclass(frozen=True)
class Comparison:
    """All that the page shows.

    Attributes:
        title: heading.
        rows: result rows of two models, the base's and the VOneNet's.
        base: name of the base model in the rows.
        vone: name of the VOneNet in the rows.
        examples: test images in every condition.
        v1: figures of the front-end.
        method: how it was measured, term by term.
        files: files beside the page, name -> what is in it.
    """

    title: str
    rows: Sequence[Result]
    base: str
    vone: str
    examples: Sequence[Example]
    v1: V1Figures
    method: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)


def write_page(comparison: Comparison, path: Path) -> None:
    """Render the page and put it at `path`, whole or not at all.

    Raises:
        InputError: the rows lack one of the models, or a kind of condition; or the page cannot be
            written.
    """
    base_rows, vone_rows = _models_rows(comparison)
    base, vone = summarise(base_rows), summarise(vone_rows)
    write_html(
        "comparison.html",
        path,
        page=comparison,
        verdict=verdict(base, vone),
        measures=_measures(base, vone),
        groups=_groups(base_rows, vone_rows),
    )


def _models_rows(comparison: Comparison) -> tuple[list[Result], list[Result]]:
    grouped = by_model(comparison.rows)
    for name in (comparison.base, comparison.vone):
        if name not in grouped:
            raise InputError(f"the results hold no row of {name}, only of {', '.join(grouped)}")
    return grouped[comparison.base], grouped[comparison.vone]


def _measures(base: Summary, vone: Summary) -> list[dict[str, str]]:
    table = []
    for label, attribute in MEASURES.items():
        b, v = (100 * getattr(summary, attribute) for summary in (base, vone))
        gain = f"{v - b:+.1f}".replace("-", "\N{MINUS SIGN}")
        kind = "better" if v > b else "worse"
        table.append(
            {"label": label, "base": f"{b:.1f}", "vone": f"{v:.1f}", "gain": gain, "kind": kind}
        )
    return table


def _groups(base: Sequence[Result], vone: Sequence[Result]) -> list[dict[str, object]]:
    """Rows of the chart by kind of condition, the two models' results side by side."""
    grouped: dict[str, list[dict[str, object]]] = {kind: [] for kind in GROUPS}
    by_setting = {Setting.of(row): row for row in vone}
    for row in base:
        setting = Setting.of(row)
        if setting in by_setting:
            marks = [_mark(row), _mark(by_setting[setting])]
            grouped[setting.kind].append({"label": setting.label, "marks": marks})
    return [{"name": GROUPS[kind], "conditions": rows} for kind, rows in grouped.items() if rows]


def _mark(row: Result) -> dict[str, str]:
    return {
        "value": f"{100 * row.value:.1f}",
        "low": f"{100 * row.ci_low:.1f}",
        "high": f"{100 * row.ci_high:.1f}",
        "width": f"{100 * (row.ci_high - row.ci_low):.1f}",
    }

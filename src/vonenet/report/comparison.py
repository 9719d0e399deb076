"""A VOneNet beside its base on one self-contained page: verdict, table, chart, examples, V1."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader

from vonenet.errors import InputError
from vonenet.report.summary import MEASURES, by_model, summarise, verdict
from vonenet.results import Result

GROUPS = ("Clean images", "Common corruptions", "White-box attacks")


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
        InputError: the rows lack one of the models, or a kind of condition.
    """
    environment = Environment(
        loader=PackageLoader("vonenet.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("comparison.html").render(
        page=comparison,
        verdict=_verdict(comparison),
        measures=_measures(comparison),
        groups=_groups(comparison),
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(path)


def _models_rows(comparison: Comparison) -> tuple[list[Result], list[Result]]:
    grouped = by_model(comparison.rows)
    for name in (comparison.base, comparison.vone):
        if name not in grouped:
            raise InputError(f"the results hold no row of {name}, only of {', '.join(grouped)}")
    return grouped[comparison.base], grouped[comparison.vone]


def _verdict(comparison: Comparison) -> str:
    base, vone = (summarise(rows) for rows in _models_rows(comparison))
    return verdict(base, vone)


def _measures(comparison: Comparison) -> list[dict[str, str]]:
    base, vone = (summarise(rows) for rows in _models_rows(comparison))
    table = []
    for label, attribute in MEASURES.items():
        b, v = (100 * getattr(summary, attribute) for summary in (base, vone))
        gain = f"{v - b:+.1f}".replace("-", "\N{MINUS SIGN}")
        kind = "better" if v > b else "worse"
        table.append(
            {"label": label, "base": f"{b:.1f}", "vone": f"{v:.1f}", "gain": gain, "kind": kind}
        )
    return table


def _groups(comparison: Comparison) -> list[dict[str, object]]:
    """Rows of the chart by kind of condition, the two models' results side by side."""
    grouped: dict[str, list[dict[str, object]]] = {name: [] for name in GROUPS}
    base, vone = _models_rows(comparison)
    by_condition = {condition_label(row): row for row in vone}
    for row in base:
        label = condition_label(row)
        if label in by_condition:
            kind = 1 if "corruption" in row.condition else 2 if "attack" in row.condition else 0
            marks = [_mark(row), _mark(by_condition[label])]
            grouped[GROUPS[kind]].append({"label": label, "marks": marks})
    return [{"name": name, "conditions": rows} for name, rows in grouped.items() if rows]


def _mark(row: Result) -> dict[str, str]:
    return {
        "value": f"{100 * row.value:.1f}",
        "low": f"{100 * row.ci_low:.1f}",
        "high": f"{100 * row.ci_high:.1f}",
        "width": f"{100 * (row.ci_high - row.ci_low):.1f}",
    }


def condition_label(row: Result) -> str:
    """A row's condition in words, such as `gaussian noise, severity 3` or `L2, epsilon 0.6`."""
    condition = row.condition
    if "corruption" in condition:
        return f"{str(condition['corruption']).replace('_', ' ')}, severity {condition['severity']}"
    if "attack" in condition:
        norm = {"linf": "L\N{INFINITY}", "l2": "L2", "l1": "L1"}[str(condition["norm"])]
        epsilon = float(condition["epsilon"])
        size = f"{epsilon * 255:g}/255" if norm.endswith("\N{INFINITY}") else f"{epsilon:g}"
        return f"{str(condition['attack']).upper()} {norm}, \N{GREEK SMALL LETTER EPSILON} {size}"
    return "clean"

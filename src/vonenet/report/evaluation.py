"""The page of a report: evaluations and training runs in folders -> one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vonenet.errors import InputError
from vonenet.report import notes, sections
from vonenet.report.attack_section import attack_section
from vonenet.report.corruption_section import corruption_section
from vonenet.report.findings import audit_finding, verdict
from vonenet.report.folders import LOG, RECIPE, RESULTS, Folders
from vonenet.report.measured import AUDIT, Check, Measured, read_folders
from vonenet.report.page import write_html
from vonenet.report.scores import MEASURES
from vonenet.report.study import Study
from vonenet.report.trained import RUN, Run, read_runs
from vonenet.report.training_section import training_section
from vonenet.report.training_table import training_table
from vonenet.report.words import DASH, count, first_column, listing, printable

COLUMN_WIDTH = 19
MOST_SOURCES = 5


@dataclass(frozen=True)
class Part:
    """Half of a page: the evaluations, or the training runs.

    Attributes:
        subject: what it is about.
        verdict: what it says, at the top of the page if it comes first.
        table: for the terminal.
        sources: names of the files that it was made from.
        contents: of its templates.
    """

    subject: str
    verdict: str
    table: str
    sources: Sequence[str]
    contents: Mapping[str, object]


def write_evaluation_report(folders: Sequence[Path], out: Path, base: str | None = None) -> str:
    """Write the page of evaluations and training runs, whole or not at all.

    Args:
        folders: each holds an evaluation (results.jsonl, and perhaps audit.jsonl and examples.png),
            a training run (recipe.toml, run.json, log.jsonl), or both.
        out: the page.
        base: label or name of the evaluated model that the others are compared with; None: the
            first one.

    Returns:
        For the terminal: the table of means, the table of runs, whichever there are.

    Raises:
        InputError: a folder with neither, or with a broken file, a base that is not among the
            models, or a page that cannot be written.
    """
    found = Folders.of(folders)
    if base is not None and not found.evaluations:
        raise InputError(f"base {base!r} is an evaluated model's; the folders hold training alone")
    parts, styles = [], {}
    if found.evaluations:
        study = Study.against(read_folders(found.evaluations), base)
        parts.append(_robustness(study))
        styles = {model.label: style for style, model in study.drawn}
    if found.runs:
        parts.append(_training(read_runs(found.runs), styles))
    subject = "; ".join(part.subject for part in parts)
    write_html(
        "evaluation.html",
        out,
        subject=subject[0].upper() + subject[1:],
        verdict=parts[0].verdict,
        sources=listing([name for part in parts for name in part.sources], MOST_SOURCES),
        **{name: each for part in parts for name, each in part.contents.items()},
    )
    return "\n\n".join(part.table for part in parts)


def _robustness(study: Study) -> Part:
    columns, rows = sections.summary_table(study)
    audit = study.measured.audit
    contents = {
        "study": study,
        "columns": columns,
        "rows": rows,
        "coverage": notes.coverage(study.models, study.scores),
        "cautions": notes.cautions(study.models),
        "legend": sections.legend(study),
        "attacks": attack_section(study),
        "corruptions": corruption_section(study),
        "differences": sections.difference_section(study),
        "details": sections.details(study),
        "audit_finding": audit_finding(audit),
        "failing": listing([model.label for model in study.models if study.failures(model)]),
        "checks": _checks(audit),
        "examples": _pictures(study.measured),
        "provenance": notes.provenance(study.measured),
    }
    return Part(
        _subject(study),
        verdict(study.scores, study.base.label),
        _text_table(study, rows),
        [RESULTS, AUDIT] if audit else [RESULTS],
        contents,
    )


def _training(runs: Sequence[Run], models: Mapping[str, int]) -> Part:
    training = training_section(runs, models)
    return Part(
        f"training of {count(len(runs), 'run')}",
        f"{training.finding}.",
        training_table(runs),
        [LOG, RECIPE, RUN],
        {"training": training},
    )


def _subject(study: Study) -> str:
    data = list(dict.fromkeys(model.data for model in study.models))
    images = data[0] if len(data) == 1 else f"{len(data)} sets of images"
    return f"Robustness of {count(len(study.models), 'model')} on {images}"


def _checks(audit: Sequence[Check]) -> list[dict[str, object]]:
    return [
        {
            "model": check.model,
            "name": check.check.replace("_", " "),
            "passed": check.passed,
            "value": _plain(check.value),
            "expected": _plain(check.expected),
            "explanation": check.explanation,
        }
        for check in audit
    ]


def _plain(value: object) -> str:
    if value is None:
        return DASH
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pictures(measured: Measured) -> list[tuple[str, str]]:
    return [
        (folder, "data:image/png;base64," + base64.b64encode(content).decode())
        for folder, content in measured.examples
    ]


def _text_table(study: Study, rows: Sequence[sections.SummaryRow]) -> str:
    """One line a model, accuracies in percent and their differences from the base in points."""
    head = "".join(f"{name:>{COLUMN_WIDTH}}" for name in MEASURES.values())
    names = first_column(["accuracy, %", *(model.label for model, _, _ in rows)])
    lines = [names[0] + head]
    for name, (_, numbers, failed) in zip(names[1:], rows, strict=True):
        cells = [f"{n.value} ({n.gain})" if n.gain else n.value for n in numbers[: len(MEASURES)]]
        told = "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells)
        mark = f"  AUDIT FAILED: {count(failed, 'check')}" if failed else ""
        lines.append(f"{name}{told}{mark}")
    lines.append(f"in brackets: points more than {printable(study.base.label)}")
    return "\n".join(lines[: None if study.others else -1])

"""The page of an evaluation: folders that `vonenet evaluate` wrote -> one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from vonenet.report import notes, sections
from vonenet.report.attack_section import attack_section
from vonenet.report.corruption_section import corruption_section
from vonenet.report.findings import audit_finding, verdict
from vonenet.report.measured import Check, Measured, read_folders
from vonenet.report.page import write_html
from vonenet.report.scores import MEASURES
from vonenet.report.study import Study
from vonenet.report.words import DASH, count, listing, printable

NAME_WIDTH, COLUMN_WIDTH = 24, 19


def write_evaluation_report(folders: Sequence[Path], out: Path, base: str | None = None) -> str:
    """Write the page of one or more evaluations, whole or not at all.

    Args:
        folders: each with results.jsonl, and perhaps audit.jsonl and examples.png.
        out: the page.
        base: label or name of the model that the others are compared with; None: the first one.

    Returns:
        The table of means for the terminal.

    Raises:
        InputError: a folder without rows or with a broken file, a base that is not among the
            models, or a page that cannot be written.
    """
    study = Study.against(read_folders(folders), base)
    columns, rows = sections.summary_table(study)
    write_html(
        "evaluation.html",
        out,
        study=study,
        verdict=verdict(study.scores, study.base.label),
        columns=columns,
        rows=rows,
        coverage=notes.coverage(study.models, study.scores),
        cautions=notes.cautions(study.models),
        legend=sections.legend(study),
        attacks=attack_section(study),
        corruptions=corruption_section(study),
        differences=sections.difference_section(study),
        details=sections.details(study),
        audit_finding=audit_finding(study.measured.audit),
        failing=listing([model.label for model in study.models if study.failures(model)]),
        checks=_checks(study.measured.audit),
        examples=_pictures(study.measured),
        provenance=notes.provenance(study.measured),
        subject=_subject(study),
    )
    return _text_table(study, rows)


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
    lines = [f"{'accuracy, %':<{NAME_WIDTH}}{head}"]
    for model, numbers, failed in rows:
        cells = [f"{n.value} ({n.gain})" if n.gain else n.value for n in numbers[: len(MEASURES)]]
        told = "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells)
        mark = f"  AUDIT FAILED: {count(failed, 'check')}" if failed else ""
        lines.append(f"{printable(model.label):<{NAME_WIDTH}}{told}{mark}")
    lines.append(f"in brackets: points more than {printable(study.base.label)}")
    return "\n".join(lines[: None if study.others else -1])

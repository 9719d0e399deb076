"""How the recipes of training runs differ, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vonenet.report.trained import Run
from vonenet.report.words import DASH


@dataclass(frozen=True)
class Differences:
    """The fields in which recipes differ.

    Attributes:
        labels: of the runs that have a recipe.
        rows: field and its value in each of their recipes.
    """

    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Differences:
        """Compare the recipes of runs."""
        known = [run for run in runs if run.recipe]
        fields = [dict(_fields(run.recipe)) for run in known]
        rows = [
            (name, [own.get(name, DASH) for own in fields])
            for name in dict.fromkeys(name for own in fields for name in own)
        ]
        return cls(
            [run.label for run in known],
            [(name, values) for name, values in rows if len(set(values)) > 1],
        )


def _fields(table: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4g}"
        else:
            yield f"{prefix}{name}", json.dumps(value, default=str, ensure_ascii=False).strip('"')

"""Recordings with the rows that were made of them, a label and a style for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vonenet.errors import InputError
from vonenet.physiology.recording import PublishedHistogram, Recording
from vonenet.report.differences import Estimate
from vonenet.results import Result, read_jsonl

SIMILARITY, CEILED, MEAN = "ks_similarity", "ceiled_ks_similarity", "mean"
SUMMARIES = ("median", "share")
# Shown beside the two that replace it in the mean, whose cells are the same
IN_NO_MEAN = ("sf_bandwidth",)
SHARE_EDGES = (0.0, 0.5, 1.0)  # of a property that a cell has or has not
EMPTY_DRAWS = 0.1  # share of draws without the property, above which its score is 0
STYLES = 7  # all but grey, which is V1's


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recording and its rows.

    Attributes:
        recording: what was recorded.
        label: model and layer, and the hash of the weights where these alone are not unique.
        style: colour, marker and dashes in every chart.
        rows: every row of the recording.
    """

    recording: Recording
    label: str
    style: int
    rows: Sequence[Result]

    @property
    def published(self) -> list[PublishedHistogram]:
        """The published properties that were measured and are averaged, in their order."""
        scored = self.of(CEILED)
        return [
            each
            for each in self.recording.published
            if each.name in scored and each.name not in IN_NO_MEAN
        ]

    @property
    def mean(self) -> Result | None:
        """The mean of the ceiled similarities; None where no published property was measured."""
        return self.of(CEILED).get(MEAN)

    def of(self, metric: str) -> Mapping[str, Result]:
        """Rows of a metric, by property; not those that compare with what was built in."""
        return {
            str(row.condition["property"]): row
            for row in self.rows
            if row.metric == metric and "holds" not in row.flags
        }

    @property
    def agreements(self) -> Mapping[str, Result]:
        """Rows that compare with what the units were built with, by property."""
        return {str(row.condition["property"]): row for row in self.rows if "holds" in row.flags}


def read_recorded(recordings: Sequence[Recording], results: Path) -> list[Recorded]:
    """Find the rows of each recording.

    Raises:
        InputError: no recording, a file that is not one of rows, or one that lacks a recording's.
    """
    if not recordings:
        raise InputError("no recording: a page needs at least one")
    rows = read_jsonl(results)
    found = []
    for index, (recording, label) in enumerate(zip(recordings, labels(recordings), strict=True)):
        own = [row for row in rows if _belongs(row, recording)]
        if not own:
            raise InputError(f"{results} has no row of {recording.label} as it was recorded")
        found.append(Recorded(recording, label, 1 + index % STYLES, own))
    return found


def labels(recordings: Sequence[Recording]) -> list[str]:
    """Model and layer, told apart by the weights, then by numbers."""
    plain = [each.label for each in recordings]
    hashed = [
        f"{each.label} ({each.model_hash[:8]})" if plain.count(each.label) > 1 else each.label
        for each in recordings
    ]
    seen: Counter[str] = Counter()
    unique = []
    for label in hashed:
        seen[label] += 1
        unique.append(f"{label} #{seen[label]}" if hashed.count(label) > 1 else label)
    return unique


def estimate(row: Result) -> Estimate:
    """A row's number with its interval."""
    return Estimate(row.value, row.ci_low, row.ci_high)


def defined(row: Result) -> int:
    """Units, of a similarity's row, for which the property is defined."""
    return row.n - int(row.flags.get("undefined", 0))


def is_missing(row: Result) -> bool:
    """Whether a similarity is 0 because hardly any unit has the property."""
    lacking = 1 - defined(row) / row.n if row.n else 1.0
    return row.value == 0 and lacking**row.data_size > EMPTY_DRAWS


def is_share(published: PublishedHistogram) -> bool:
    """Whether a cell has the property or has it not."""
    return published.edges == SHARE_EDGES


def _belongs(row: Result, recording: Recording) -> bool:
    expected = {"layer": recording.layer} | dict(recording.settings)
    found = {name: value for name, value in row.condition.items() if name != "property"}
    return (
        row.model == recording.model
        and row.model_hash == recording.model_hash
        and found | {"seed": row.seed} == expected
    )

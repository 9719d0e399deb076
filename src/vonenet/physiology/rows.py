"""A recording -> result rows: scores, properties, what was built in beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vonenet.physiology.consistency import Agreement, agreements
from vonenet.physiology.published import PUBLISHED
from vonenet.physiology.recording import Array, Population, Recording
from vonenet.physiology.scores import Score, score_properties, summary
from vonenet.results import Result, wilson_interval

EXPERIMENT = "physiology"
MEAN = "mean"  # the property's name in the row that averages over properties
# Properties that a unit has or has not
SHARES = ("orientation_selective", "sf_selective", "strongly_suppressed")
RESAMPLES = 1000  # of the units
INTERVAL = (2.5, 97.5)  # percentiles

Columns = dict[str, Any]


def recording_rows(recording: Recording) -> list[Result]:
    """All rows of a recording: the same recording, the same rows.

    - `ks_similarity`, as measured, and `ceiled_ks_similarity`, over the ceiling, of each property
      whose distribution is published, and the mean of the ten as the property `mean`: `n` is the
      number of units, `data` the paper, `data_size` its cells.
    - `median` or `share` of each property: `n` is the number of units that have it, `data` the
      paper that the experiment follows, `data_size` the units recorded.
    - `correlation`, `share` or `ratio` of what units were built with (`consistency.py`).
    """
    scores = scores_of(recording)
    columns = [
        *(each for score in scores for each in _scored(score)),
        *_averaged([score for score in scores if score.published.name in PUBLISHED]),
        *(each for found in recording.populations.values() for each in _measured(found)),
        *(_agreed(each) for each in agreements(recording)),
    ]
    return [_row(recording, each, recording.seconds / len(columns)) for each in columns]


def scores_of(recording: Recording) -> list[Score]:
    """Similarities with the published distributions of what was measured."""
    names = [each.name for each in recording.published if recording.experiment_of(each.name)]
    seed = int(recording.settings["seed"])
    return score_properties({name: recording.values(name) for name in names}, seed=seed)


def _row(recording: Recording, columns: Columns, seconds: float) -> Result:
    """Columns that are a row's own, and those that all rows of a recording share."""
    settings = {k: v for k, v in recording.settings.items() if k != "seed"}
    property_ = {"property": columns.pop("property")}
    flags = {"stochastic": recording.is_stochastic} | columns.pop("flags")
    return Result(
        experiment=EXPERIMENT,
        model=recording.model,
        model_hash=recording.model_hash,
        condition=property_ | {"layer": recording.layer} | settings,
        seed=int(recording.settings["seed"]),
        flags=flags,
        versions=recording.versions,
        seconds=seconds,
        **columns,
    )


def _scored(score: Score) -> Iterator[Columns]:
    for metric, over in (("ks_similarity", 1.0), ("ceiled_ks_similarity", score.ceiling)):
        yield {
            "property": score.published.name,
            "metric": metric,
            "data": score.published.paper,
            "data_size": score.published.recorded,
            "value": score.value / over,
            "ci_low": score.ci_low / over,
            "ci_high": score.ci_high / over,
            "n": score.n_units,
            "flags": {"ceiling": score.ceiling, "undefined": score.n_undefined},
        }


def _averaged(scores: Sequence[Score]) -> Iterator[Columns]:
    """The mean over the published properties, if any was measured."""
    if scores:
        mean = summary(scores)
        yield {
            "property": MEAN,
            "metric": "ceiled_ks_similarity",
            "data": "published V1",
            "data_size": sum(score.published.recorded for score in scores),
            "value": mean.value,
            "ci_low": mean.ci_low,
            "ci_high": mean.ci_high,
            "n": mean.n_units,
            "flags": {"properties": mean.properties},
        }


def _measured(population: Population) -> Iterator[Columns]:
    """A row for each property that any unit has."""
    for name in population.properties:
        values = population.values(name)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        is_share = name in SHARES
        value, low, high = _share(known) if is_share else _median(known)
        undefined = {"undefined": len(values) - len(known)}
        yield {
            "property": name,
            "metric": "share" if is_share else "median",
            "data": population.source,
            "data_size": population.counts["recorded"],
            "value": value,
            "ci_low": low,
            "ci_high": high,
            "n": len(known),
            "flags": {"experiment": population.experiment} | dict(population.counts) | undefined,
        }


def _share(values: Array) -> tuple[float, float, float]:
    yes = int(values.sum())
    return yes / len(values), *wilson_interval(yes, len(values))


def _median(values: Array) -> tuple[float, float, float]:
    """The median with its interval over resampled units."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), INTERVAL).tolist()
    return float(np.median(values)), low, high


def _agreed(agreement: Agreement) -> Columns:
    offset = {"offset": agreement.offset} if agreement.metric == "correlation" else {}
    return {
        "property": agreement.name,
        "metric": agreement.metric,
        "data": "what the units were built with",
        "data_size": agreement.n + agreement.excluded,
        "value": agreement.value,
        "ci_low": agreement.ci_low,
        "ci_high": agreement.ci_high,
        "n": agreement.n,
        "flags": {"holds": agreement.holds} | offset,
    }

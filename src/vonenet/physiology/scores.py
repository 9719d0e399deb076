"""How like V1 a recording is: similarity with published distributions, and its result rows.

The similarity is that of Marques, Schrimpf & DiCarlo 2021 (bioRxiv 2021.03.01.433495):

    similarity = 1 - KS / KS_max

KS is the largest distance between the cumulative histograms of model units and published cells, in
the published bins; KS_max is the larger of its values for the two worst models, all of whose units
lie in the first or in the last bin. As many units as cells were recorded are drawn from the model,
with replacement, a thousand times: the mean is the score, the middle 95 % its interval. A layer of
which fewer than 10 units respond gets no score.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from math import inf, isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.recording import (
    Array,
    Population,
    PublishedHistogram,
    Recording,
    as_numbers,
)
from vonenet.results import Result, wilson_interval

RESAMPLES = 1000
CEILING_RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)  # percentiles
# Share of draws without any unit that has the property, above which the score is 0 (Brain-Score's)
EMPTY_DRAWS = 0.1

EXPERIMENT = "physiology"  # of the rows
MEAN = "mean"  # the property's name in the row that averages over properties
# Properties that a unit has or has not
SHARES = ("orientation_selective", "sf_selective", "strongly_suppressed")

# Correlation, or share of units, from which on what units were built with is said to be recovered
HOLDS = 0.95
# The same for a ratio, which is 1 at best
RATIO_TOLERANCE = 0.1
# A correlation does not see a difference that all units share: its median may be so large
LARGEST_OFFSET_DEG = 5.0
LARGEST_OFFSET_OCTAVES = 0.25
# Draws of fewer units know too little of others: no score, and no agreement with what was built in
LEAST_UNITS = 10

# A row's property, metric, data and their size, value with its interval, n, flags
Columns = tuple[str, str, tuple[str, int], tuple[float, float, float], int, dict[str, Any]]


def _histogram(name: str, table: dict[str, Any]) -> PublishedHistogram:
    groups = table.pop("counts").values()
    counts = tuple(sum(bins) for bins in zip(*groups, strict=True))
    edges = table.pop("edges", None)
    if edges is None:
        first, last, n = table.pop("bins")
        edges = (np.geomspace if table.get("log") else np.linspace)(first, last, n + 1).tolist()
    return PublishedHistogram(
        name=name, edges=tuple(edges), counts=counts, **{"recorded": sum(counts)} | table
    )


_TABLES = tomllib.loads(files(__package__).joinpath("published.toml").read_text("utf-8"))
# Published distributions of V1 properties, those of Marques et al. 2021 first
PUBLISHED = {name: _histogram(name, table) for name, table in _TABLES.items()}


@dataclass(frozen=True, eq=False)
class Score:
    """Similarity of a model's units with one published distribution, 0 to 1.

    Attributes:
        published: The distribution.
        value: Mean over the draws; 0 where hardly any unit has the property.
        ci_low: Lower end of the middle 95 % of the draws.
        ci_high: Upper end.
        n_units: Units compared.
        n_undefined: Those of them for which the property is undefined (NaN).
        draws: Similarity of every draw, (resamples,).
    """

    published: PublishedHistogram
    value: float
    ci_low: float
    ci_high: float
    n_units: int
    n_undefined: int
    draws: Array = field(repr=False)

    @property
    def ceiling(self) -> float:
        """The published cells' similarity with themselves, drawn in the same way."""
        return ceiling(self.published)

    @property
    def ceiled(self) -> float:
        """The score over its ceiling: 1 is as good as another set of cells could be."""
        return self.value / self.ceiling


def ks_similarity(
    values: npt.ArrayLike,
    published: PublishedHistogram,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Compare model units with a published distribution.

    Units without the property are drawn too and then not counted, as the published cells without it
    were recorded and not counted: the fewer units have it, the wider the interval.

    The same seed draws the same units for every property with as many units, so that a mean over
    properties knows which of them go together.

    Args:
        values: (units,) the property of every unit that responds, NaN where undefined; in the
            published unit, and 1 or 0 where it is a share of cells. Leave out units that do not
            respond: they would count as units without the property. None at all score 0.
        published: What to compare with.
        resamples: Draws.
        seed: Of the draws.

    Raises:
        InputError: Another shape, or infinite values.
    """
    array = as_numbers(values)
    if array.ndim != 1 or np.isinf(array).any():
        raise InputError(
            f"values of {published.name} have shape {array.shape}, {np.isinf(array).sum()} of them "
            "infinite; allowed: (units,), NaN where undefined"
        )
    draws = _similarities(published.bins_of(array), published, resamples, seed)
    undefined = int(np.isnan(array).sum())
    return Score(published, *mean_and_interval(draws), len(array), undefined, draws)


@cache
def ceiling(published: PublishedHistogram) -> float:
    """Return the published cells' similarity with themselves: what a perfect model would score."""
    bins = np.repeat(np.arange(len(published.counts)), published.counts)
    undefined = np.full(published.recorded - published.n, -1)
    cells = np.concatenate([bins, undefined])
    return float(_similarities(cells, published, CEILING_RESAMPLES, seed=0).mean())


def mean_score(scores: Sequence[Score]) -> tuple[float, float, float]:
    """Average ceiled scores over properties, draw by draw: the mean and its interval's ends."""
    return mean_and_interval(np.mean([score.draws / score.ceiling for score in scores], axis=0))


def mean_and_interval(draws: Array) -> tuple[float, float, float]:
    """Return the mean of draws and the interval about it."""
    mean = float(draws.mean())
    return mean, *interval_about(mean, draws)


def interval_about(value: float, draws: Array) -> tuple[float, float]:
    """Return the ends of the middle 95 % of draws, widened to the value that they are draws of.

    They need not hold it: a few draws that are far from all others move a mean, but no percentile.
    Draws that are NaN are left out.
    """
    low, high = np.nanpercentile(draws, INTERVAL).tolist()
    return min(low, value), max(high, value)


def scores_of(recording: Recording) -> list[Score]:
    """Compare a recording with every published distribution of what was measured.

    Where fewer than `LEAST_UNITS` units respond in an experiment, its properties get no score.
    """
    return [
        ks_similarity(recording.values(each.name), each, seed=int(recording.settings["seed"]))
        for each in recording.published
        if (found := recording.experiment_of(each.name))
        and np.count_nonzero(found.responsive) >= LEAST_UNITS
    ]


def recording_rows(recording: Recording) -> list[Result]:
    """Return all result rows of a recording: the same recording, the same rows.

    - `ks_similarity`, as measured, and `ceiled_ks_similarity`, over the ceiling, of each property
      whose distribution is published, and the mean of those of Marques et al. 2021 as the property
      `mean`: `n` is the number of units, `data` the paper, `data_size` its cells.
    - `median` or `share` of each property: `n` is the number of units that have it, `data` the
      paper that the experiment follows, `data_size` the units recorded.
    - `correlation`, `share` or `ratio` of what was measured with what units were built with, where
      that is known of at least 10 units: `data_size` counts also those whose property is undefined,
      or whose kernel is cut by its window, which makes it another filter.
    """
    scores = scores_of(recording)
    columns = [
        *(row for score in scores for row in _score_columns(score)),
        *_mean_columns([score for score in scores if score.published.in_mean]),
        *(row for found in recording.populations.values() for row in _property_columns(found)),
        *_recovery_columns(recording),
    ]
    settings = dict(recording.settings)
    seed, preprocessing = int(settings.pop("seed")), str(settings.pop("preprocessing", ""))
    return [
        Result(
            experiment=EXPERIMENT,
            model=recording.model,
            model_hash=recording.model_hash,
            data=data,
            data_size=data_size,
            condition={"property": name, "layer": recording.layer} | settings,
            metric=metric,
            value=value,
            ci_low=low,
            ci_high=high,
            n=n,
            seed=seed,
            preprocessing=preprocessing,
            flags={"stochastic": recording.is_stochastic} | flags,
            versions=recording.versions,
            seconds=recording.seconds / len(columns),
        )
        for name, metric, (data, data_size), (value, low, high), n, flags in columns
    ]


def _score_columns(score: Score) -> Iterator[Columns]:
    published = score.published
    data = published.paper, published.recorded
    flags = {"ceiling": score.ceiling, "undefined": score.n_undefined}
    for metric, over in (("ks_similarity", 1.0), ("ceiled_ks_similarity", score.ceiling)):
        estimate = score.value / over, score.ci_low / over, score.ci_high / over
        yield published.name, metric, data, estimate, score.n_units, flags


def _mean_columns(scores: Sequence[Score]) -> Iterator[Columns]:
    if scores:
        data = "published V1", sum(score.published.recorded for score in scores)
        n, flags = max(score.n_units for score in scores), {"properties": len(scores)}
        yield MEAN, "ceiled_ks_similarity", data, mean_score(scores), n, flags


def _property_columns(population: Population) -> Iterator[Columns]:
    """Summarise each property that any unit has: a share with its Wilson interval, or a median."""
    data = population.source, population.counts["recorded"]
    for name in population.properties:
        values = population.values(name)
        known = values[np.isfinite(values)]
        n = len(known)
        if not n:
            continue
        flags = {"experiment": population.experiment, **population.counts}
        flags["undefined"] = len(values) - n
        if name in SHARES:
            yes = int(known.sum())
            share = yes / n, *wilson_interval(yes, n)
            yield name, "share", data, share, n, flags
        else:
            resampled = np.random.default_rng(0).choice(known, (RESAMPLES, n))
            median = float(np.median(known))
            interval = interval_about(median, np.median(resampled, axis=1))
            yield name, "median", data, (median, *interval), n, flags


def _recovery_columns(recording: Recording) -> Iterator[Columns]:
    """Compare what units were built with, where that is known, with what was measured of them.

    Orientations and, in octaves, frequencies are compared by correlation; cell types by the share
    of units whose F1/F0 is on their type's side of 1; noise by the median over units of the
    variance over trials, summed over stimuli, over that of the noise model at the same responses.
    """
    truth = recording.ground_truth
    if truth is None:
        return
    angles, frequencies, ratio = (
        recording.of_all_units(name)
        for name in ("preferred_orientation", "peak_spatial_frequency", "modulation_ratio")
    )
    is_complex = truth.is_complex.astype(np.float64)
    pairs = {
        "preferred_orientation": (truth.orientation_deg, truth.unwrap_orientation(angles)),
        "peak_spatial_frequency": (np.log2(truth.frequency_cpd), np.log2(frequencies)),
        "modulation_ratio": (is_complex, np.where(np.isnan(ratio), np.nan, ratio < 1)),
    }
    if "noise" in recording.populations and recording.is_stochastic and truth.noise_slope >= 0:
        curve = recording.populations["noise"].curves["variance_before_noise"]
        expected = truth.rectified_moments(curve.x)[1].sum(axis=1)
        pairs["variance"] = expected, curve.rates.sum(axis=1)
    for name, (true, measured) in pairs.items():
        metric, agreement, largest_offset = RECOVERED[name]
        known = np.isfinite(measured) & (truth.whole | (metric != "correlation"))
        true, measured = true[known], measured[known]
        n = len(true)
        if n < LEAST_UNITS:
            continue
        resampled = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where all units are alike
            value = agreement(true, measured)
            values = [agreement(true[each], measured[each]) for each in resampled]
        if not isfinite(value):
            continue
        offset = float(np.median(measured - true))
        interval = interval_about(value, np.array(values))
        is_near = abs(value - 1) <= RATIO_TOLERANCE if metric == "ratio" else value >= HOLDS
        flags: dict[str, Any] = {"holds": bool(is_near and abs(offset) <= largest_offset)}
        if metric == "correlation":
            flags["offset"] = offset
        data = "what the units were built with", len(known)
        yield name, metric, data, (value, *interval), n, flags


def axial_correlation(true: Array, measured: Array) -> float:
    """Return the circular correlation of orientations, degrees.

    Twice the angles are correlated, by the sines of their distances from their circular means
    (Jammalamadaka & SenGupta 2001, Topics in Circular Statistics).
    """
    from_means = []
    for angles in (np.deg2rad(2 * true), np.deg2rad(2 * measured)):
        mean = np.angle(np.exp(1j * angles).mean())
        from_means.append(np.sin(angles - mean))
    a, b = from_means
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


# Metric, agreement of (units,) true and measured values, largest median difference
RECOVERED: dict[str, tuple[str, Callable[[Array, Array], float], float]] = {
    "preferred_orientation": ("correlation", axial_correlation, LARGEST_OFFSET_DEG),
    "peak_spatial_frequency": (
        "correlation",
        lambda true, measured: float(np.corrcoef(true, measured)[0, 1]),
        LARGEST_OFFSET_OCTAVES,
    ),
    "modulation_ratio": ("share", lambda true, measured: float((true == measured).mean()), inf),
    "variance": ("ratio", lambda true, measured: float(np.median(measured / true)), inf),
}


def _similarities(
    bins: npt.NDArray[np.int64], published: PublishedHistogram, resamples: int, seed: int
) -> Array:
    """Return the similarity of each draw of as many units as cells were recorded, (resamples,)."""
    # One column per draw: properties of fewer cells use the first rows of the same numbers
    uniform = np.random.default_rng(seed).random((published.recorded, resamples))
    if not len(bins):
        return np.zeros(resamples)
    resampled = bins[(uniform * len(bins)).astype(np.int64)]
    counts = np.stack([(resampled == bin_).sum(axis=0) for bin_ in range(len(published.counts))])
    defined = counts.sum(axis=0)
    if (defined == 0).mean() > EMPTY_DRAWS:
        return np.zeros(resamples)
    cumulative = np.cumsum(counts / np.maximum(defined, 1), axis=0)
    target = np.cumsum(published.shares)
    distance = np.abs(cumulative - target[:, None]).max(axis=0)
    worst = max(1 - target[0], target[-2])
    similarity: Array = np.where(defined > 0, 1 - distance / worst, 0.0)
    return similarity

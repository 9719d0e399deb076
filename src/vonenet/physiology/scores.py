"""How like V1 a population of units is: the similarity of distributions of Marques et al. 2021.

    similarity = 1 - KS / KS_max

KS is the largest distance between the cumulative histograms of model units and published cells, in
the published bins; KS_max is the larger of its values for the two worst models, all of whose units
lie in the first or in the last bin. As many units as cells were recorded are drawn from the model,
with replacement, a thousand times: the mean is the score, the middle 95 % its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.published import PUBLISHED, SF_BANDWIDTH
from vonenet.physiology.recording import Array, PublishedHistogram

RESAMPLES = 1000
CEILING_RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)  # percentiles
# Share of draws without any unit that has the property, above which the score is 0 (Brain-Score's)
EMPTY_DRAWS = 0.1


@dataclass(frozen=True, eq=False)
class Score:
    """Similarity of a model's units with one published distribution, 0 to 1.

    Attributes:
        published: the distribution.
        value: mean over the draws; 0 where hardly any unit has the property.
        ci_low: lower end of the middle 95 % of the draws.
        ci_high: upper end.
        n_units: units compared.
        n_undefined: those of them for which the property is undefined (NaN).
        draws: similarity of every draw, (resamples,).
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


@dataclass(frozen=True)
class Summary:
    """Mean of the ceiled scores of several properties, with the middle 95 % of its draws.

    Attributes:
        value: the mean, 0 to 1.
        ci_low: lower end.
        ci_high: upper end.
        properties: how many were averaged.
        n_units: the most units that any of them was measured on.
    """

    value: float
    ci_low: float
    ci_high: float
    properties: int
    n_units: int


def ks_similarity(
    values: npt.ArrayLike,
    published: PublishedHistogram,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Compares model units with a published distribution.

    Units without the property are drawn too and then not counted, as the published cells without it
    were recorded and not counted: the fewer units have it, the wider the interval.

    The same seed draws the same units for every property with as many units, so that a summary
    knows which properties go together.

    Args:
        values: (units,) the property of every unit that responds, NaN where undefined; in the
            published unit, and 1 or 0 where it is a share of cells. Units that do not respond were
            not recorded and must be left out, or they count as units without the property. None
            at all score 0.
        published: what to compare with.
        resamples: draws, at least 1.
        seed: of the draws.

    Raises:
        InputError: On another shape, infinite values, or fewer than one draw.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or np.isinf(array).any():
        raise InputError(
            f"values of {published.name} have shape {array.shape}, {np.isinf(array).sum()} of them "
            "infinite; allowed: (units,), NaN where undefined"
        )
    if resamples < 1:
        raise InputError(f"resamples={resamples} is too few; allowed: 1 or more")
    bins = published.bins_of(array)
    draws = _similarities(bins, published, resamples, seed)
    low, high = (float(end) for end in np.percentile(draws, INTERVAL))
    undefined = int(np.isnan(array).sum())
    return Score(published, float(draws.mean()), low, high, len(array), undefined, draws)


def score_properties(
    properties: Mapping[str, npt.ArrayLike], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Score]:
    """Compares several properties, each by its published name, as `ks_similarity` does.

    Raises:
        InputError: If a name is not among the published ones, or `ks_similarity` refuses.
    """
    known = PUBLISHED | {SF_BANDWIDTH.name: SF_BANDWIDTH}
    unknown = [name for name in properties if name not in known]
    if unknown:
        raise InputError(f"no published distribution of {unknown}; allowed: {sorted(known)}")
    return [
        ks_similarity(values, known[name], resamples=resamples, seed=seed)
        for name, values in properties.items()
    ]


@cache
def ceiling(published: PublishedHistogram) -> float:
    """Similarity of the published cells with themselves: what a perfect model would score."""
    bins = np.repeat(np.arange(len(published.counts)), published.counts)
    undefined = np.full(published.recorded - published.n, -1)
    cells = np.concatenate([bins, undefined])
    return float(_similarities(cells, published, CEILING_RESAMPLES, seed=0).mean())


def summary(scores: Sequence[Score]) -> Summary:
    """Averages ceiled scores over properties, draw by draw.

    Raises:
        InputError: If there is no score, or they differ in their numbers of draws.
    """
    if not scores or len({len(score.draws) for score in scores}) > 1:
        numbers = [len(score.draws) for score in scores]
        raise InputError(f"scores with {numbers} draws have no mean; allowed: all as many, and any")
    draws = np.mean([score.draws / score.ceiling for score in scores], axis=0)
    low, high = (float(end) for end in np.percentile(draws, INTERVAL))
    units = max(score.n_units for score in scores)
    return Summary(float(draws.mean()), low, high, len(scores), units)


def _similarities(
    bins: npt.NDArray[np.int64], published: PublishedHistogram, resamples: int, seed: int
) -> Array:
    """Similarity of each draw of as many units as cells were recorded, (resamples,)."""
    # One column per draw: properties of fewer cells use the first rows of the same numbers
    uniform = np.random.default_rng(seed).random((published.recorded, resamples))
    if not len(bins):
        return np.zeros(resamples)
    drawn = bins[(uniform * len(bins)).astype(np.int64)]
    counts = np.stack([(drawn == bin_).sum(axis=0) for bin_ in range(len(published.counts))])
    defined = counts.sum(axis=0)
    if (defined == 0).mean() > EMPTY_DRAWS:
        return np.zeros(resamples)
    cumulative = np.cumsum(counts / np.maximum(defined, 1), axis=0)
    target = np.cumsum(published.shares)
    distance = np.abs(cumulative - target[:, None]).max(axis=0)
    worst = max(1 - target[0], target[-2])
    similarity: Array = np.where(defined > 0, 1 - distance / worst, 0.0)
    return similarity

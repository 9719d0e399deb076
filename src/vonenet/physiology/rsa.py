"""Representational similarity: do the same images look alike to a layer and to recorded neurons?

Two images are as unlike as 1 less Pearson's r between all units' responses to them. Spearman's
correlation of a layer's dissimilarities with the neurons', over pairs of images, compares both
(Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from vonenet.bars import progress_bar
from vonenet.physiology.recording import Array

RESAMPLES = 200  # of the units
SPLITS = 20  # of the repetitions into random halves
PERCENTILES = (2.5, 97.5)
LEAST = 3  # units, and pairs of images: Pearson's r of two numbers is always 1 or -1
# Variance over units as a share of their mean square, below which single precision sees none
FLAT = 1e-6


@dataclass(frozen=True)
class Similarity:
    """How like the neurons' dissimilarities those of a layer are.

    Attributes:
        spearman: Spearman's correlation over pairs of images.
        interval: Its 95 % interval over resampled neurons.
        ceiling: What the neurons' own dissimilarities without noise would reach; None where that is
            not known.
        pairs: Pairs of images compared: those of images to which units respond differently.
    """

    spearman: float
    interval: tuple[float, float]
    ceiling: float | None
    pairs: int


def similarities_of(
    layers: Sequence[Array],
    means: Array,
    ceiling: float | None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> list[Similarity | None]:
    """Compare each layer's dissimilarities with those of recorded neurons.

    None of fewer than 3 neurons, or of images that the layer or the neurons do not tell apart.

    Args:
        layers: (images, images), as `dissimilarities` or `dissimilarities_of_products` has them.
        means: (images, neurons), over repetitions.
        ceiling: As `ceiling_of_halves` has it.
        seed: Of the resampled neurons.
        progress: Show a bar.
    """
    n = means.shape[1]
    if n < LEAST:
        return [None] * len(layers)
    seen = [Ranked(pairs_of(layer)) for layer in layers]
    draws = [np.arange(n), *np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))]
    found, pairs = np.full((len(draws), len(seen)), np.nan), [0] * len(seen)
    bar = progress_bar(draws, unit="draw", shown=progress, leave=False)
    for number, units in enumerate(bar):
        neurons = Ranked(pairs_of(dissimilarities(means[:, units])))
        found[number] = [layer.spearman(neurons) for layer in seen]
        if number == 0:  # not resampled
            pairs = [int(np.count_nonzero(layer.known & neurons.known)) for layer in seen]
    results: list[Similarity | None] = []
    for of_layer, compared in zip(found.T, pairs, strict=True):
        value = float(of_layer[0])
        if compared < LEAST or np.isnan(value):
            results.append(None)
            continue
        low, high = np.nanpercentile(of_layer, PERCENTILES).tolist()
        interval = min(low, value), max(high, value)
        results.append(Similarity(value, interval, ceiling, compared))
    return results


def ceiling_of_halves(halves: Iterable[tuple[Array, Array]]) -> float | None:
    """Return what dissimilarities without noise would reach; None where halves do not agree.

    Spearman's correlation between the dissimilarities in two random halves of the repetitions,
    averaged over splits and brought to all repetitions by Spearman and Brown's formula, is how far
    two such recordings would agree; its root, how far one would agree with what both show.

    Args:
        halves: Means over each half, (images, neurons), NaN where there are no two repetitions.
    """
    agreement = [
        spearman(*(pairs_of(dissimilarities(half)) for half in split))
        for split in islice(halves, SPLITS)
    ]
    r = float(np.mean(agreement))  # NaN of fewer than 2 units
    return float(np.sqrt(2 * r / (1 + r))) if r > 0 else None


def dissimilarities(responses: Array) -> Array:
    """Return 1 less Pearson's r between images, (images, images), of responses (images, units).

    NaN for images to which all units respond alike, or some unit not at all.
    """
    means = responses.mean(axis=1, keepdims=True)
    deviations = responses - means
    square, power = (deviations**2).sum(axis=1), (responses**2).sum(axis=1)
    length = np.sqrt(np.where(square > FLAT * power, square, np.nan))
    unit: Array = deviations / length[:, None]
    return 1 - unit @ unit.T


def dissimilarities_of_products(products: Array) -> Array:
    """Return what `dissimilarities` does, from scalar products.

    Args:
        products: (images + 2, images + 2), as `predictivity.Features.products` has them.
    """
    n, units = len(products) - 2, products[-1, -1]
    about_mean = np.eye(n, n + 2)
    about_mean[:, -2] = 1  # the mean image, which products are about
    powers = (about_mean @ products * about_mean).sum(axis=1)
    about_mean[:, -1] = -(products[:n, -1] + products[-2, -1]) / units  # the image's mean
    covariance = about_mean @ products @ about_mean.T
    square = np.diag(covariance)
    length = np.sqrt(np.where(square > FLAT * powers, square, np.nan))
    found: Array = 1 - covariance / np.outer(length, length)
    return found


def pairs_of(matrix: Array) -> Array:
    """Return what is above the diagonal, (pairs,)."""
    found: Array = matrix[~np.tri(len(matrix), dtype=bool)]
    return found


def spearman(a: Array, b: Array) -> float:
    """Return Spearman's correlation of what is defined in both; NaN where one does not vary."""
    return Ranked(a).spearman(Ranked(b))


class Ranked:
    """Values that are compared with many others: their ranks are kept."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self.known = np.isfinite(values)
        self.ranks = _centered_ranks(values[self.known])

    def spearman(self, other: Ranked) -> float:
        """Return Spearman's correlation of what is defined in both; NaN where one does not vary."""
        x, y, known = self.ranks, other.ranks, self.known & other.known
        if not (known.all() or np.array_equal(self.known, other.known)):
            x, y = (_centered_ranks(each.values[known]) for each in (self, other))
        length = np.sqrt((x @ x) * (y @ y))
        return float(x @ y / length) if length > 0 else float("nan")


def seconds_of(images: int, neurons: int) -> float:
    """Measure what `similarities_of` takes for any number of layers, seconds."""
    means = np.random.default_rng(0).random((images, neurons))
    start = time.perf_counter()
    Ranked(pairs_of(dissimilarities(means)))
    return (time.perf_counter() - start) * RESAMPLES


def _centered_ranks(values: Array) -> Array:
    """Rank values about their mean rank; equal ones share the mean of theirs.

    `scipy.stats.rankdata` takes four times as long, for its sort is stable.
    """
    order = np.argsort(values)
    ordered, ranks = values[order], np.empty(len(values))
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of equal ones
    times = np.diff(first, append=len(values))
    ranks[order] = np.repeat(first + (times - len(values)) / 2, times)
    return ranks

"""Representational similarity: do the same images look alike to a layer and to recorded neurons?

Two images are as unlike as 1 less Pearson's r between all units' responses to them. Spearman's
correlation of a layer's dissimilarities with the neurons', over pairs of images, compares both
(Kriegeskorte, Mur & Bandettini 2008, Front Syst Neurosci 2:4).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

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


def similarity_of(
    layer: Array, means: Array, ceiling: float | None, *, seed: int = 0
) -> Similarity | None:
    """Compare a layer's dissimilarities with those of recorded neurons.

    None of fewer than 3 neurons, or of images that the layer or the neurons do not tell apart.

    Args:
        layer: (images, images), as `dissimilarities` or `dissimilarities_of_products` has them.
        means: (images, neurons), over repetitions.
        ceiling: As `ceiling_of_halves` has it.
        seed: Of the resampled neurons.
    """
    of_layer, of_neurons, n = pairs_of(layer), pairs_of(dissimilarities(means)), means.shape[1]
    value = spearman(of_layer, of_neurons)
    pairs = int(np.count_nonzero(np.isfinite(of_layer + of_neurons)))
    if min(n, pairs) < LEAST or np.isnan(value):
        return None
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    seen = Ranked(of_layer)
    draws = [seen.spearman(pairs_of(dissimilarities(means[:, each]))) for each in drawn]
    low, high = np.nanpercentile([value, *draws], PERCENTILES).tolist()
    return Similarity(value, (min(low, value), max(high, value)), ceiling, pairs)


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
    return Ranked(a).spearman(b)


class Ranked:
    """Values that many others are compared with: their ranks are kept."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self.known = np.isfinite(values)
        self.ranks = _centered_ranks(values[self.known])

    def spearman(self, others: Array) -> float:
        """Return Spearman's correlation of what is defined in both; NaN where one does not vary."""
        known = self.known & np.isfinite(others)
        same = np.array_equal(known, self.known)
        x = self.ranks if same else _centered_ranks(self.values[known])
        y = _centered_ranks(others[known])
        length = np.sqrt((x @ x) * (y @ y))
        return float(x @ y / length) if length > 0 else float("nan")


def seconds_of(images: int, neurons: int) -> float:
    """Measure what `similarity_of` takes for a layer, seconds."""
    means = np.random.default_rng(0).random((images, neurons))
    start = time.perf_counter()
    seen = Ranked(pairs_of(dissimilarities(means)))
    seen.spearman(pairs_of(dissimilarities(means)))
    return (time.perf_counter() - start) / 2 * RESAMPLES


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

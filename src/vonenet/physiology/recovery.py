"""Parameter recovery: what units were built with, measured back from their responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from vonenet.physiology.recording import Array, GroundTruth, Mask, Recording

# Correlation, or share of units, from which on a property is said to be recovered
HOLDS = 0.95
# The same for a ratio, which is 1 at best
RATIO_TOLERANCE = 0.1
# A correlation does not see a difference that all units share: its median may be so large
LARGEST_OFFSET_DEG = 5.0
LARGEST_OFFSET_OCTAVES = 0.25
LEAST_UNITS = 3
RESAMPLES = 1000  # of the units
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, eq=False)
class Recovery:
    """A property that was built in, beside the same property measured.

    Attributes:
        name: Of the property, as experiments call it.
        metric: What `value` is: `correlation`, `share` or `ratio`.
        value: Agreement, 1 if perfect.
        ci_low: Lower end of the 95 % interval over resampled units.
        ci_high: Upper end.
        offset: Median of measured less true, degrees or octaves.
        holds: Whether the two agree.
        true: (n,) what was built in.
        measured: (n,) what was measured.
        excluded: Units left out: not recorded, property undefined, or kernel cut by its window.
    """

    name: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    offset: float
    holds: bool
    true: Array = field(repr=False)
    measured: Array = field(repr=False)
    excluded: int

    @property
    def n(self) -> int:
        """Units compared."""
        return len(self.true)


def recovered_parameters(recording: Recording) -> list[Recovery]:
    """Compare everything that is known of how a recording's units were built; [] for nothing.

    - Orientations and, in octaves, frequencies: by correlation, over units whose kernel is not cut
      by its window, since a cut kernel is another filter.
    - Cell types: the share of units whose F1/F0 is on their type's side of 1.
    - Noise: the median over units of the variance over trials, summed over stimuli, over that of
      the noise model at the same responses before noise.
    """
    truth = recording.ground_truth
    found: list[Recovery | None] = []
    if truth is None:
        return []
    if (measured := _property(recording, "preferred_orientation")) is not None:
        pair = truth.orientation_deg, truth.unwrap_orientation(measured)
        known = truth.whole & np.isfinite(measured)
        limit = LARGEST_OFFSET_DEG
        found.append(
            _compare("preferred_orientation", "correlation", pair, known, axial_correlation, limit)
        )
    if (measured := _property(recording, "peak_spatial_frequency")) is not None:
        pair = np.log2(truth.frequency_cpd), np.log2(measured)
        known = truth.whole & np.isfinite(measured)
        limit = LARGEST_OFFSET_OCTAVES
        found.append(
            _compare("peak_spatial_frequency", "correlation", pair, known, _correlation, limit)
        )
    if (ratio := _property(recording, "modulation_ratio")) is not None:
        pair = truth.is_complex.astype(np.float64), (ratio < 1).astype(np.float64)
        found.append(_compare("modulation_ratio", "share", pair, np.isfinite(ratio), _share_equal))
    if (variances := _variances(recording, truth)) is not None:
        known = np.isfinite(variances[1])
        found.append(_compare("variance", "ratio", variances, known, _median_ratio))
    return [each for each in found if each is not None]


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


def _correlation(true: Array, measured: Array) -> float:
    return float(np.corrcoef(true, measured)[0, 1])


def _share_equal(true: Array, measured: Array) -> float:
    return float((true == measured).mean())


def _median_ratio(true: Array, measured: Array) -> float:
    return float(np.median(measured / true))


def _variances(recording: Recording, truth: GroundTruth) -> tuple[Array, Array] | None:
    """Return each unit's variance by the noise model and as measured, summed over stimuli."""
    noise = recording.populations.get("noise")
    if noise is None or not recording.is_stochastic or not np.isfinite(truth.noise_slope):
        return None
    curve = noise.curves["variance_before_noise"]
    _, expected = truth.rectified_moments(curve.x)
    return expected.sum(axis=1), curve.rates.sum(axis=1)


def _property(recording: Recording, name: str) -> Array | None:
    population = recording.experiment_of(name)
    return None if population is None else population.properties[name]


def _compare(
    name: str,
    metric: str,
    pair: tuple[Array, Array],
    known: Mask,
    measure: Callable[[Array, Array], float],
    largest_offset: float = inf,
) -> Recovery | None:
    """Measure agreement with its interval over resampled units; None for too few units."""
    true, measured = (values[known] for values in pair)
    n = len(true)
    if n < LEAST_UNITS:
        return None
    value, offset = measure(true, measured), float(np.median(measured - true))
    resampled = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    ends = np.percentile([measure(true[each], measured[each]) for each in resampled], INTERVAL)
    is_near = abs(value - 1) <= RATIO_TOLERANCE if metric == "ratio" else value >= HOLDS
    return Recovery(
        name=name,
        metric=metric,
        value=value,
        ci_low=float(ends[0]),
        ci_high=float(ends[1]),
        offset=offset,
        holds=bool(is_near and abs(offset) <= largest_offset),
        true=true,
        measured=measured,
        excluded=len(known) - n,
    )

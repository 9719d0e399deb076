"""Parameter recovery: what units were built with, measured back from their responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from vonenet.physiology.recording import Array, Mask, Recording

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


@dataclass(frozen=True)
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
        n: Units compared.
        excluded: Units left out: not recorded, property undefined, or kernel cut by its window.
    """

    name: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    offset: float
    holds: bool
    n: int
    excluded: int


def recovered_parameters(recording: Recording) -> list[Recovery]:
    """Compare everything that is known of how a recording's units were built; [] for nothing.

    - Orientations and, in octaves, frequencies: by correlation, over units whose kernel is not cut
      by its window, since a cut kernel is another filter.
    - Cell types: the share of units whose F1/F0 is on their type's side of 1.
    - Noise: the median over units of the variance over trials, summed over stimuli, over that of
      the noise model at the same responses before noise.

    A property with fewer than 3 units to compare is left out.
    """
    truth = recording.ground_truth
    if truth is None:
        return []
    measured = {
        name: values
        for population in recording.populations.values()
        for name, values in population.properties.items()
    }
    found: list[Recovery | None] = []
    if (angles := measured.get("preferred_orientation")) is not None:
        found.append(
            _compare(
                ("preferred_orientation", "correlation", axial_correlation),
                truth.orientation_deg,
                truth.unwrap_orientation(angles),
                truth.whole & np.isfinite(angles),
                LARGEST_OFFSET_DEG,
            )
        )
    if (frequencies := measured.get("peak_spatial_frequency")) is not None:
        found.append(
            _compare(
                ("peak_spatial_frequency", "correlation", _correlation),
                np.log2(truth.frequency_cpd),
                np.log2(frequencies),
                truth.whole & np.isfinite(frequencies),
                LARGEST_OFFSET_OCTAVES,
            )
        )
    if (ratio := measured.get("modulation_ratio")) is not None:
        is_complex = truth.is_complex.astype(np.float64), (ratio < 1).astype(np.float64)
        measure = ("modulation_ratio", "share", _share_equal)
        found.append(_compare(measure, *is_complex, np.isfinite(ratio)))
    if "noise" in recording.populations and recording.is_stochastic and truth.noise_slope >= 0:
        curve = recording.populations["noise"].curves["variance_before_noise"]
        expected = truth.rectified_moments(curve.x)[1].sum(axis=1)
        variance = curve.rates.sum(axis=1)
        measure = ("variance", "ratio", _median_ratio)
        found.append(_compare(measure, expected, variance, np.isfinite(variance)))
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


def _compare(
    what: tuple[str, str, Callable[[Array, Array], float]],
    true: Array,
    measured: Array,
    known: Mask,
    largest_offset: float = inf,
) -> Recovery | None:
    """Measure agreement with its interval over resampled units; None for too few units."""
    name, metric, measure = what
    true, measured = true[known], measured[known]
    n = len(true)
    if n < LEAST_UNITS:
        return None
    value, offset = measure(true, measured), float(np.median(measured - true))
    resampled = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    values = [measure(true[each], measured[each]) for each in resampled]
    low, high = np.percentile(values, INTERVAL).tolist()
    is_near = abs(value - 1) <= RATIO_TOLERANCE if metric == "ratio" else value >= HOLDS
    holds = bool(is_near and abs(offset) <= largest_offset)
    return Recovery(name, metric, value, low, high, offset, holds, n, len(known) - n)

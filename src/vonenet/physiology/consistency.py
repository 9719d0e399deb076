"""What a front-end was built with, measured back from its responses: the two must agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from vonenet.physiology.recording import Array, GroundTruth, Mask, Recording

HOLDS = 0.95  # correlation, or share of units, from which on the two are said to agree
WITHIN = 0.1  # of 1, for a ratio
# A correlation does not see a difference that all units share: its median may be so large
LARGEST_OFFSET_DEG = 5.0
LARGEST_OFFSET_OCTAVES = 0.25
LEAST_UNITS = 3
RESAMPLES = 1000  # of the units
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, eq=False)
class Agreement:
    """A property that was built in beside the same property measured.

    Attributes:
        name: Of the property, as experiments call it.
        metric: What `value` is: `correlation`, `share` or `ratio`.
        value: Agreement, 1 if perfect.
        ci_low: Lower end of the 95 % interval over resampled units.
        ci_high: Upper end.
        offset: Median of measured less drawn, degrees or octaves.
        holds: Whether the two agree.
        drawn: (n,) what was built in.
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
    drawn: Array = field(repr=False)
    measured: Array = field(repr=False)
    excluded: int

    @property
    def n(self) -> int:
        """Units compared."""
        return len(self.drawn)


def agreements(recording: Recording) -> list[Agreement]:
    """Every comparison that a recording allows; none where nothing is known of what was built.

    Orientations and frequencies are compared for units whose kernel is not cut, since a cut kernel
    is another filter; frequencies as octaves. Cell types are told by F1/F0 above or below 1. The
    noise's variance at each unit's responses before noise is compared with the noise model's.
    """
    if recording.ground_truth is None:
        return []
    compared = [
        _orientations(recording, recording.ground_truth),
        _frequencies(recording, recording.ground_truth),
        _cell_types(recording, recording.ground_truth),
        _noise(recording, recording.ground_truth),
    ]
    return [agreement for agreement in compared if agreement is not None]


def axial_correlation(drawn: Array, measured: Array) -> float:
    """The circular correlation of orientations, degrees (Jammalamadaka & SenGupta 2001).

    Twice the angles are correlated, by the sines of their distances from their circular means.
    """
    from_means = []
    for angles in (np.deg2rad(2 * drawn), np.deg2rad(2 * measured)):
        mean = np.angle(np.exp(1j * angles).mean())
        from_means.append(np.sin(angles - mean))
    a, b = from_means
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def _orientations(recording: Recording, drawn: GroundTruth) -> Agreement | None:
    measured = _property(recording, "preferred_orientation")
    if measured is None:
        return None
    return _agreement(
        "preferred_orientation",
        "correlation",
        (drawn.orientation_deg, drawn.unwrap_orientation(measured)),
        drawn.whole & np.isfinite(measured),
        axial_correlation,
        largest_offset=LARGEST_OFFSET_DEG,
    )


def _frequencies(recording: Recording, drawn: GroundTruth) -> Agreement | None:
    measured = _property(recording, "peak_spatial_frequency")
    if measured is None:
        return None
    return _agreement(
        "peak_spatial_frequency",
        "correlation",
        (np.log2(drawn.frequency_cpd), np.log2(measured)),
        drawn.whole & np.isfinite(measured),
        lambda one, other: float(np.corrcoef(one, other)[0, 1]),
        largest_offset=LARGEST_OFFSET_OCTAVES,
    )


def _cell_types(recording: Recording, drawn: GroundTruth) -> Agreement | None:
    """The share of units whose F1/F0 is on the side of 1 that their cell type is."""
    ratio = _property(recording, "modulation_ratio")
    if ratio is None:
        return None
    types = drawn.is_complex.astype(np.float64), (ratio < 1).astype(np.float64)
    return _agreement(
        "modulation_ratio",
        "share",
        types,
        np.isfinite(ratio),
        lambda one, other: float((one == other).mean()),
    )


def _noise(recording: Recording, drawn: GroundTruth) -> Agreement | None:
    """Each unit's variance, summed over stimuli, over the noise model's at the same responses."""
    noise = recording.populations.get("noise")
    if noise is None or not recording.is_stochastic or not np.isfinite(drawn.noise_slope):
        return None
    curve = noise.curves["variance_before_noise"]
    _, expected = drawn.rectified_moments(curve.x)
    measured = curve.rates.sum(axis=1)
    return _agreement(
        "variance",
        "ratio",
        (expected.sum(axis=1), measured),
        np.isfinite(measured),
        lambda one, other: float(np.median(other / one)),
    )


def _property(recording: Recording, name: str) -> Array | None:
    population = recording.experiment_of(name)
    return None if population is None else population.properties[name]


def _agreement(
    name: str,
    metric: str,
    pair: tuple[Array, Array],
    known: Mask,
    measure: Callable[[Array, Array], float],
    largest_offset: float = inf,
) -> Agreement | None:
    """A measure of drawn and measured with its interval over resampled units; None for too few."""
    drawn, measured = (values[known] for values in pair)
    n = len(drawn)
    if n < LEAST_UNITS:
        return None
    value, offset = measure(drawn, measured), float(np.median(measured - drawn))
    resampled = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    ends = np.percentile([measure(drawn[each], measured[each]) for each in resampled], INTERVAL)
    is_near = abs(value - 1) <= WITHIN if metric == "ratio" else value >= HOLDS
    return Agreement(
        name=name,
        metric=metric,
        value=value,
        ci_low=float(ends[0]),
        ci_high=float(ends[1]),
        offset=offset,
        holds=bool(is_near and abs(offset) <= largest_offset),
        drawn=drawn,
        measured=measured,
        excluded=len(known) - n,
    )

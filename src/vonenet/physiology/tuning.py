"""Properties of tuning curves for orientation, spatial frequency and phase, all units at once.

Rates have the shape (..., stimuli): one curve along the last axis, any number of units before it.
Every property has the shape of the units, and is NaN where it is undefined: for a unit that is
silent, has a NaN among its rates, or never does what the definition asks for.

Angles (n,) are orientations or directions, degrees, evenly spaced over 180 or 360, ascending, the
last one not shown again. Functions raise InputError for other angles, or rates of another shape.

The first five functions reduce responses (units, *axes) of a design to such curves. Of a drifting
grating, phase is the last axis: the mean over phases is F0, the amplitude at the grating's
frequency F1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from vonenet.errors import InputError
from vonenet.physiology.recording import Array, Mask

# A curve whose variation is below this share of its size is flat
FLAT = 1e-6
# Half the maximum's power: the level of Schiller et al. 1976 and Ringach et al. 2002
HALF_POWER = 0.707
# Ringach, Shapley & Hawken 2002 (J Neurosci 22:5639): a Hanning window whose half width at half
# height is 13.5 degrees, so that it is zero from 27 degrees on
HANNING_REACH_DEG = 27.0
ANGLE_STEPS = 720  # of the smoothed curve
STEPS_PER_OCTAVE = 64  # of the interpolated curve


def f0(responses: Array) -> Array:
    """Return the mean over phases, the last axis."""
    mean: Array = responses.mean(axis=-1)
    return mean


def f1(responses: Array) -> Array:
    """Return the amplitude of the modulation once per cycle; phases last, evenly spaced."""
    amplitude: Array = 2 * np.abs(np.fft.rfft(responses, axis=-1)[..., 1]) / responses.shape[-1]
    return amplitude


def larger_component(responses: Array, spontaneous: Array) -> Array:
    """Stack F0 above the spontaneous rate and F1 as a new first axis after the units.

    A tuning curve is made of the one with the larger maximum (De Valois et al. 1982, Cavanaugh et
    al. 2002): F1 for simple cells, F0 for complex ones. `best_curve` finds it.
    """
    mean = f0(responses)
    above = mean - spontaneous.reshape(-1, *(1,) * (mean.ndim - 1))
    return np.stack([above, f1(responses)], axis=1)


def best_curve(responses: Array, along: int) -> Array:
    """Return each unit's responses along one axis, (units, n), the others being at its maximum.

    `along` counts the axes of `responses` (units, *axes); it may be negative.
    """
    last = np.moveaxis(responses, along, -1)
    curves = last.reshape(len(last), -1, last.shape[-1])
    best = curves.max(axis=2).argmax(axis=1)
    chosen: Array = curves[np.arange(len(curves)), best]
    return chosen


def largest(responses: Array) -> Array:
    """Return each unit's largest response, (units,)."""
    top: Array = responses.reshape(len(responses), -1).max(axis=1)
    return top


@dataclass(frozen=True, eq=False)
class FrequencyTuning:
    """Spatial-frequency tuning, every array of the units' shape.

    Attributes:
        peak_cpd: Frequency of the largest response, cycles per degree; at an end of the measured
            range where the curve rises towards it.
        low_cut_cpd: Below the peak, where the response first falls to the level; NaN if never.
        high_cut_cpd: The same above the peak.
    """

    peak_cpd: Array
    low_cut_cpd: Array
    high_cut_cpd: Array

    @property
    def bandwidth_percent(self) -> Array:
        """Low cut over high cut, times 100 (Schiller et al. 1976): the larger, the narrower."""
        return 100 * self.low_cut_cpd / self.high_cut_cpd

    @property
    def selective(self) -> Mask:
        """Whether the response falls to the level on both sides of the peak."""
        return np.isfinite(self.bandwidth_percent)


def circular_variance(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return one minus the length of the mean vector at twice the angle (Ringach et al. 2002).

    It is 0 for one orientation only, 1 where all are alike. Rates include the spontaneous activity,
    as published.
    """
    angles, _, curves, usable = _angular_curves(angles_deg, rates)
    vector, total = _vector_sum(angles, curves)
    return _where(usable, 1 - np.abs(vector) / total)


def preferred_orientation(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return the direction of the vector sum at twice the angle; NaN for a flat curve.

    Degrees in [0, 180). The sum uses all the curve, so it falls between the angles shown.
    """
    angles, _, curves, usable = _angular_curves(angles_deg, rates)
    vector, total = _vector_sum(angles, curves)
    angle = np.rad2deg(np.angle(vector)) / 2 % 180
    # -1e-15 % 180 is 180
    return _where(usable & (np.abs(vector) > FLAT * total), np.where(angle == 180, 0.0, angle))


def orthogonal_preferred_ratio(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return the response 90 degrees off the angle of the largest response, over that response.

    Directions have two orthogonals, which are averaged; an orthogonal that was not shown is
    interpolated.
    """
    angles, period, curves, usable = _angular_curves(angles_deg, rates)
    from_peak = _rolled_to_peak(curves)
    steps = np.array([90.0, period - 90.0]) * len(angles) / period
    below, share = np.floor(steps).astype(int), steps % 1
    neighbours = from_peak[..., below], from_peak[..., (below + 1) % len(angles)]
    orthogonal = ((1 - share) * neighbours[0] + share * neighbours[1]).mean(axis=-1)
    return _where(usable, orthogonal / _or_one(from_peak[..., 0]))


def half_bandwidth(
    angles_deg: npt.ArrayLike, rates: npt.ArrayLike, level: float = HALF_POWER
) -> Array:
    """Return half the width of the curve at `level` of its maximum (Ringach et al. 2002).

    The curve is interpolated by a periodic cubic spline and smoothed by a Hanning window of 13.5
    degrees' half width at half height; its ends are the nearest crossings on either side.

    Args:
        angles_deg: (n,).
        rates: (..., n), spontaneous activity included, as published.
        level: Share of the maximum, in (0, 1).

    Returns:
        Degrees; NaN where the curve never falls to the level.
    """
    _check_level(level)
    angles, period, curves, usable = _angular_curves(angles_deg, rates)
    from_peak = _rolled_to_peak(_smoothed(angles, period, curves))
    threshold = level * from_peak[..., :1]
    right = _first_crossing(from_peak, threshold)
    left = _first_crossing(np.roll(from_peak[..., ::-1], 1, axis=-1), threshold)
    return _where(usable, (left + right) / 2 * period / ANGLE_STEPS)


def sf_peak_and_bandwidth(
    frequencies_cpd: npt.ArrayLike, rates: npt.ArrayLike, level: float = HALF_POWER
) -> FrequencyTuning:
    """Find peak and cuts of a spatial-frequency curve by a cubic spline over log frequency.

    Args:
        frequencies_cpd: (n,) at least 4, ascending, above 0.
        rates: (..., n); responses above the spontaneous rate if the cuts shall refer to these.
        level: Share of the maximum at which the curve is cut, in (0, 1).

    Returns:
        All NaN for a flat curve.
    """
    _check_level(level)
    frequencies = _ascending("frequencies_cpd", frequencies_cpd, at_least=4)
    if frequencies[0] <= 0:
        raise InputError(f"frequencies_cpd begins with {frequencies[0]}; allowed: above 0")
    curves, usable = _curves(frequencies, rates)
    octaves = np.log2(frequencies)
    steps = 1 + int(np.ceil((octaves[-1] - octaves[0]) * STEPS_PER_OCTAVE))
    grid = np.linspace(octaves[0], octaves[-1], steps)
    fine = CubicSpline(octaves, curves, axis=-1)(grid)
    peak, largest = fine.argmax(axis=-1), fine.max(axis=-1, keepdims=True)
    side = np.arange(steps) - np.expand_dims(peak, -1)
    # Each side of the peak by itself: the other is lifted above the level
    high = _first_crossing(np.where(side >= 0, fine, largest), level * largest)
    below = np.where(side <= 0, fine, largest)[..., ::-1]
    low = steps - 1 - _first_crossing(below, level * largest)
    flat = np.ptp(curves, axis=-1) <= FLAT * np.abs(curves).max(axis=-1)
    width = (octaves[-1] - octaves[0]) / (steps - 1)
    return FrequencyTuning(
        *(_where(usable & ~flat, frequencies[0] * np.exp2(at * width)) for at in (peak, low, high))
    )


def modulation_ratio(phases_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return F1/F0: the response at the grating's temporal frequency over the mean response.

    Above 1 for simple cells and below for complex ones (Skottun et al. 1991); a half-wave rectified
    linear unit has pi / 2, a response that does not depend on phase 0. Phases cover 360 degrees.
    """
    phases, period, curves, usable = _angular_curves(phases_deg, rates)
    if period != 360:
        raise InputError(f"phases_deg covers {period:g} degrees; allowed: 360")
    f0 = curves.mean(axis=-1)
    f1 = 2 * np.abs((curves * np.exp(-1j * np.deg2rad(phases))).mean(axis=-1))
    return _where(usable & (f0 > 0), f1 / _or_one(f0))


def _curves(stimuli: Array, rates: npt.ArrayLike) -> tuple[Array, Mask]:
    """Return rates in double precision, unusable curves zero, and which units are usable."""
    curves = np.asarray(rates, dtype=np.float64)
    if curves.ndim == 0 or curves.shape[-1] != len(stimuli):
        raise InputError(
            f"rates has shape {curves.shape}; allowed: (..., {len(stimuli)}), a rate per stimulus"
        )
    finite = np.asarray(np.isfinite(curves).all(axis=-1))
    curves = np.where(finite[..., None], curves, 0.0)
    return curves, finite & (curves.max(axis=-1) > 0)


def _angular_curves(
    angles_deg: npt.ArrayLike, rates: npt.ArrayLike
) -> tuple[Array, float, Array, Mask]:
    """Return angles, the period that they cover, curves, and which of these are usable."""
    angles = _ascending("angles_deg", angles_deg, at_least=3)
    steps = np.diff(angles)
    period = float(steps.mean() * len(angles))
    if not np.allclose(steps, steps.mean(), rtol=1e-4) or round(period, 2) not in (180, 360):
        raise InputError(
            f"{len(angles)} angles from {angles[0]:g} to {angles[-1]:g} degrees do not divide a "
            "circle evenly; allowed: evenly spaced over 180 or 360 degrees, the last not shown"
        )
    return angles, float(round(period)), *_curves(angles, rates)


def _ascending(name: str, values: npt.ArrayLike, *, at_least: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < at_least or not np.all(np.diff(array) > 0):
        raise InputError(
            f"{name} has shape {array.shape}; allowed: at least {at_least} numbers, ascending"
        )
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level={level} is not a share of the maximum; allowed: between 0 and 1")


def _vector_sum(angles: Array, curves: Array) -> tuple[npt.NDArray[np.complex128], Array]:
    vector = np.asarray(curves @ np.exp(2j * np.deg2rad(angles)), dtype=np.complex128)
    return vector, _or_one(np.abs(curves).sum(axis=-1))


def _smoothed(angles: Array, period: float, curves: Array) -> Array:
    """Smooth the curve by Ringach's Hanning window, on a fine grid from the first angle on."""
    around = np.append(angles, angles[0] + period)
    closed = np.concatenate([curves, curves[..., :1]], axis=-1)
    step = np.arange(ANGLE_STEPS) * period / ANGLE_STEPS
    fine = CubicSpline(around, closed, axis=-1, bc_type="periodic")(angles[0] + step)
    distance = np.minimum(step, period - step)
    window = np.where(
        distance < HANNING_REACH_DEG, 1 + np.cos(np.pi * distance / HANNING_REACH_DEG), 0
    )
    spectrum = np.fft.rfft(fine) * np.fft.rfft(window / window.sum())
    return np.fft.irfft(spectrum, n=ANGLE_STEPS)


def _rolled_to_peak(curves: Array) -> Array:
    """Rotate a circular curve so that it begins at its largest value."""
    n = curves.shape[-1]
    index = (np.expand_dims(curves.argmax(axis=-1), -1) + np.arange(n)) % n
    return np.take_along_axis(curves, index, axis=-1)


def _first_crossing(curves: Array, threshold: Array) -> Array:
    """Return the position, in steps, where a curve first falls to the threshold, else NaN.

    Interpolate linearly between two steps.
    """
    low = curves <= threshold
    after = np.expand_dims(low.argmax(axis=-1), -1)
    before = np.maximum(after - 1, 0)
    high_value = np.take_along_axis(curves, before, axis=-1)
    drop = high_value - np.take_along_axis(curves, after, axis=-1)
    share = (high_value - threshold) / _or_one(drop)
    return _where(np.asarray(low.any(axis=-1)), (before + share)[..., 0])


def _where(defined: Mask, values: Array) -> Array:
    return np.where(defined, values, np.nan)


def _or_one(values: Array) -> Array:
    """Replace values that are not above 0 by 1: a divisor for curves that are left out anyway."""
    return np.where(values > 0, values, 1.0)

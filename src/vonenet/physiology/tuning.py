"""Properties of tuning curves for orientation, spatial frequency and phase, all units at once.

Rates have the shape (..., stimuli): one curve along the last axis, any number of units before it.
Every property has the shape of the units, and is NaN where it is undefined: for a unit that is
silent, has a NaN among its rates, or never does what the definition asks for.

Orientations (n,) are evenly spaced over 180 degrees, ascending, the last one not shown again.
Functions raise InputError for other angles, or rates of another shape.

The first five functions reduce responses (units, *axes) of a design to such curves. Of a drifting
grating, phase is the last axis: the mean over phases is F0, the amplitude at the grating's
frequency F1.
"""

from __future__ import annotations

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


def circular_variance(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return one minus the length of the mean vector at twice the angle (Ringach et al. 2002).

    It is 0 for one orientation only, 1 where all are alike. Rates include the spontaneous activity,
    as published.
    """
    angles, curves, usable = _orientation_curves(angles_deg, rates)
    vector, total = _vector_sum(angles, curves)
    return _where(usable, 1 - np.abs(vector) / total)


def preferred_orientation(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return the direction of the vector sum at twice the angle; NaN for a flat curve.

    Degrees in [0, 180). The sum uses all the curve, so it falls between the angles shown.
    """
    angles, curves, usable = _orientation_curves(angles_deg, rates)
    vector, total = _vector_sum(angles, curves)
    angle = np.rad2deg(np.angle(vector)) / 2 % 180
    # -1e-15 % 180 is 180
    return _where(usable & (np.abs(vector) > FLAT * total), np.where(angle == 180, 0.0, angle))


def orthogonal_preferred_ratio(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return the response 90 degrees off the angle of the largest response, over that response.

    An orthogonal that was not shown is between the two angles about it.
    """
    angles, curves, usable = _orientation_curves(angles_deg, rates)
    from_peak = _rolled_to_peak(curves)
    n = len(angles)
    orthogonal = (from_peak[..., n // 2] + from_peak[..., (n + 1) // 2]) / 2
    return _where(usable, orthogonal / _or_one(from_peak[..., 0]))


def half_bandwidth(angles_deg: npt.ArrayLike, rates: npt.ArrayLike) -> Array:
    """Return half the width of the curve at 0.707 of its maximum (Ringach et al. 2002), degrees.

    The curve, which includes the spontaneous activity as published, is interpolated by a periodic
    cubic spline and smoothed by a Hanning window of 13.5 degrees' half width at half height; its
    ends are the nearest crossings on either side. NaN where it never falls so low.
    """
    angles, curves, usable = _orientation_curves(angles_deg, rates)
    closed = np.concatenate([curves, curves[..., :1]], axis=-1)
    spline = CubicSpline(np.append(angles, angles[0] + 180), closed, axis=-1, bc_type="periodic")
    step = np.arange(ANGLE_STEPS) * 180 / ANGLE_STEPS
    distance = np.minimum(step, 180 - step)
    window = 1 + np.cos(np.pi * np.minimum(distance / HANNING_REACH_DEG, 1))
    spectrum = np.fft.rfft(spline(angles[0] + step)) * np.fft.rfft(window / window.sum())
    from_peak = _rolled_to_peak(np.fft.irfft(spectrum, n=ANGLE_STEPS))
    threshold = HALF_POWER * from_peak[..., :1]
    right = _first_crossing(from_peak, threshold)
    left = _first_crossing(np.roll(from_peak[..., ::-1], 1, axis=-1), threshold)
    return _where(usable, (left + right) / 2 * 180 / ANGLE_STEPS)


def frequency_peak_and_cuts(
    frequencies_cpd: npt.ArrayLike, rates: npt.ArrayLike
) -> tuple[Array, Array, Array]:
    """Find the peak of a curve and where it falls to 0.707, by a cubic spline over log frequency.

    Args:
        frequencies_cpd: (n,) at least 4, ascending, above 0.
        rates: (..., n); responses above the spontaneous rate if the cuts shall refer to these.

    Returns:
        Frequency of the largest response, at an end of the range where the curve rises towards it;
        those of the first cut below it and above it, NaN where there is none. All NaN for a flat
        curve.
    """
    frequencies = np.asarray(frequencies_cpd, dtype=np.float64)
    if len(frequencies) < 4 or frequencies[0] <= 0 or not np.all(np.diff(frequencies) > 0):
        raise InputError(
            f"frequencies_cpd={frequencies.tolist()}; allowed: at least 4 above 0, ascending"
        )
    curves, usable = _curves(frequencies, rates)
    octaves = np.log2(frequencies)
    steps = 1 + int(np.ceil((octaves[-1] - octaves[0]) * STEPS_PER_OCTAVE))
    grid = np.linspace(octaves[0], octaves[-1], steps)
    fine = CubicSpline(octaves, curves, axis=-1)(grid)
    peak, top = fine.argmax(axis=-1), fine.max(axis=-1, keepdims=True)
    side = np.arange(steps) - np.expand_dims(peak, -1)
    # Each side of the peak by itself: the other is lifted above the level
    high = _first_crossing(np.where(side >= 0, fine, top), HALF_POWER * top)
    below = np.where(side <= 0, fine, top)[..., ::-1]
    low = steps - 1 - _first_crossing(below, HALF_POWER * top)
    flat = np.ptp(curves, axis=-1) <= FLAT * np.abs(curves).max(axis=-1)
    width = (octaves[-1] - octaves[0]) / (steps - 1)
    peak_cpd, low_cpd, high_cpd = (
        _where(usable & ~flat, frequencies[0] * np.exp2(at * width)) for at in (peak, low, high)
    )
    return peak_cpd, low_cpd, high_cpd


def modulation_ratio(rates: Array) -> Array:
    """Return F1/F0 of curves over phase, which cover 360 degrees.

    Above 1 for simple cells and below for complex ones (Skottun et al. 1991); a half-wave rectified
    linear unit has pi / 2, a response that does not depend on phase 0.
    """
    mean = f0(rates)
    return _where(mean > 0, f1(rates) / _or_one(mean))


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


def _orientation_curves(
    angles_deg: npt.ArrayLike, rates: npt.ArrayLike
) -> tuple[Array, Array, Mask]:
    """Return angles, curves, and which of these are usable."""
    angles = np.asarray(angles_deg, dtype=np.float64)
    if len(angles) < 3 or not np.allclose(np.diff(angles), 180 / len(angles), rtol=1e-4):
        raise InputError(
            f"angles_deg={angles.tolist()}; allowed: at least 3, evenly spaced over 180 degrees, "
            "ascending, the last not shown"
        )
    return angles, *_curves(angles, rates)


def _vector_sum(angles: Array, curves: Array) -> tuple[npt.NDArray[np.complex128], Array]:
    vector = np.asarray(curves @ np.exp(2j * np.deg2rad(angles)), dtype=np.complex128)
    return vector, _or_one(np.abs(curves).sum(axis=-1))


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

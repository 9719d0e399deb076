"""Fit tuning curves: Naka-Rushton to contrast, ratio of Gaussians to size.

What enters linearly (gain, baseline) is solved for; the rest is searched by
`scipy.optimize.least_squares`, which begins at the best of a grid of shapes, or of several grids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import erf

from vonenet.bars import progress_bar
from vonenet.errors import InputError
from vonenet.physiology.recording import Array, Mask
from vonenet.physiology.tuning import FLAT

# Share of a curve's variance that a fit must explain to be called good. Our own choice: a fit that
# leaves more than a fifth is a description of something else.
GOOD_R2 = 0.8
# Cavanaugh, Bair & Movshon 2002 (J Neurophysiol 88:2530) and Marques et al. 2021: the summation
# field reaches 95 % of the peak, the surround ends within 5 % of the plateau, and units suppressed
# by at least a tenth have a surround.
SUMMATION_SHARE = 0.95
PLATEAU_MARGIN = 0.05
STRONG_SUPPRESSION = 0.1
SIZE_STEPS = 1024  # of the fitted curve, even in log diameter
# Ratios of surround to centre in which a search begins: a weak large surround and a strong small
# one can fit nearly as well, with a ridge between them.
SURROUND_RATIOS = ((1.0, 2.0), (2.0, 5.0), (5.0, 32.0))
EXACT_R2 = 0.9999  # no further start is tried


@dataclass(frozen=True, eq=False)
class ContrastFit:
    """R(c) = baseline + r_max c^n / (c^n + c50^n) (Naka & Rushton 1966), arrays of (units,).

    NaN throughout for a unit that is silent, constant or has a NaN among its rates.

    Attributes:
        r_max: Response above the baseline at infinite contrast, in the rates' unit, >= 0.
        c50: Contrast of half of it. Above the highest contrast shown it is extrapolated: such a
            unit does not saturate.
        exponent: n, in [0.5, 10].
        baseline: Response at no contrast, >= 0.
        r2: Explained share of the curve's variance.
    """

    r_max: Array
    c50: Array
    exponent: Array
    baseline: Array
    r2: Array

    def curve(self, contrasts: npt.ArrayLike) -> Array:
        """Return the fitted responses, (units, contrasts)."""
        shape = _saturation(np.asarray(contrasts, np.float64), self.c50, self.exponent)
        return self.baseline[:, None] + self.r_max[:, None] * shape


@dataclass(frozen=True, eq=False)
class SizeFit:
    """R(d) = gain L(d, w_c) / (1 + k_s L(d, w_s)) with L(d, w) = erf(d / w)^2, arrays of (units,).

    The ratio of Gaussians of Cavanaugh et al. 2002. The properties are read off the fitted curve
    between the smallest and the largest diameter shown, whose response is the plateau. NaN
    throughout for a unit that is silent or has a NaN among its rates. One that responds alike to
    every size sees less than the smallest: it has no surround, and that summation field.

    Attributes:
        gain: Of the centre, in the rates' unit.
        center_deg: w_c, degrees.
        surround_deg: w_s >= w_c, degrees.
        surround_gain: k_s >= 0.
        summation_field_deg: Grating summation field: smallest diameter with 95 % of the peak.
        surround_diameter_deg: Smallest diameter beyond the peak with a response at most 5 % above
            the plateau; NaN for units suppressed by less than a tenth.
        suppression_index: (peak - plateau) / peak, in [0, 1].
        r2: Explained share of the curve's variance.
    """

    gain: Array
    center_deg: Array
    surround_deg: Array
    surround_gain: Array
    summation_field_deg: Array
    surround_diameter_deg: Array
    suppression_index: Array
    r2: Array

    def curve(self, diameters_deg: npt.ArrayLike) -> Array:
        """Return the fitted responses, (units, diameters)."""
        shape = partial(_ratio_of_gaussians, np.asarray(diameters_deg, np.float64))
        ratio = self.surround_deg / self.center_deg
        return self.gain[:, None] * shape(self.center_deg, ratio, self.surround_gain)


def naka_rushton_fit(
    contrasts: npt.ArrayLike, rates: npt.ArrayLike, *, progress: str | None = None
) -> ContrastFit:
    """Fit the contrast response of every unit.

    Args:
        contrasts: (n,) at least 5, ascending, 0 to 1; 0 is the blank.
        rates: (units, n), spontaneous activity included.
        progress: A bar's description; None shows no bar.

    Raises:
        InputError: The shapes or contrasts are not as above.
    """
    x, curves, usable = _checked("contrasts", contrasts, rates)
    low, high = (x[x > 0][0] / 2, 0.5), (10 * x[-1], 10)
    points = _grid(low, high, (48, 24))
    shape_of = partial(_saturation, x)
    shapes = shape_of(*points)
    start = _nearest(points, shapes - shapes.mean(axis=1, keepdims=True), curves)
    (c50, exponent), r2 = _fit(
        shape_of, _gain_and_baseline, (low, high), [start], curves, usable, progress
    )
    r_max, baseline = _gain_and_baseline(shape_of(c50, exponent), curves)
    return ContrastFit(r_max, c50, exponent, baseline, r2)


def size_tuning_fit(
    diameters_deg: npt.ArrayLike, rates: npt.ArrayLike, *, progress: str | None = None
) -> SizeFit:
    """Fit the size tuning of every unit, as `naka_rushton_fit` does.

    The diameters are above 0, the rates above the response to the blank: there is no baseline.
    """
    x, curves, usable = _checked("diameters_deg", diameters_deg, rates)
    if x[0] == 0:
        raise InputError("diameters_deg begins with 0; allowed: above 0, the blank subtracted")
    shape_of = partial(_ratio_of_gaussians, x)
    smallest, largest = x[0] / 4, 2 * x[-1]
    starts = []
    for least_ratio, greatest_ratio in SURROUND_RATIOS:
        low, high = (smallest, least_ratio, 1e-3), (largest, greatest_ratio, 1e3)
        points = _grid(low, high, (32, 12, 24))
        starts.append(_nearest(points, shape_of(*points), curves))
    bounds = (smallest, SURROUND_RATIOS[0][0], 1e-3), (largest, SURROUND_RATIOS[-1][1], 1e3)
    (center, ratio, strength), r2 = _fit(
        shape_of, _gain_alone, bounds, starts, curves, usable, progress
    )
    alike = (curves.max(axis=1) > 0) & ~usable
    center, ratio, strength = (
        np.where(alike, known, found)
        for known, found in ((smallest, center), (1.0, ratio), (0.0, strength))
    )
    gain, _ = _gain_alone(shape_of(center, ratio, strength), curves)
    diameters = np.geomspace(x[0], x[-1], SIZE_STEPS)
    curve = _ratio_of_gaussians(diameters, center, ratio, strength)
    peak, plateau = curve.max(axis=1), curve[:, -1]
    field = diameters[(curve >= SUMMATION_SHARE * peak[:, None]).argmax(axis=1)]
    beyond = np.arange(SIZE_STEPS) > curve.argmax(axis=1)[:, None]
    ended = beyond & (curve <= (1 + PLATEAU_MARGIN) * plateau[:, None])
    index = 1 - plateau / peak
    end = diameters[ended.argmax(axis=1)]
    return SizeFit(
        gain=gain,
        center_deg=center,
        surround_deg=center * ratio,
        surround_gain=strength,
        summation_field_deg=np.where(usable | alike, field, np.nan),
        surround_diameter_deg=np.where(index >= STRONG_SUPPRESSION, end, np.nan),
        suppression_index=index,
        r2=np.where(alike, 1.0, r2),
    )


def _grid(low: Sequence[float], high: Sequence[float], steps: Sequence[int]) -> Array:
    """Return a grid of parameters, even in the logarithm, (parameters, points)."""
    axes = map(np.geomspace, low, high, steps)
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])


def _nearest(points: Array, directions: Array, curves: Array) -> Array:
    """Return the points whose directions (points, n) are nearest to curves (units, n)."""
    unit_length = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return points[:, [int((unit_length @ curve).argmax()) for curve in curves]]


def _saturation(contrasts: Array, c50: Array, exponent: Array) -> Array:
    """Return c^n / (c^n + c50^n), shape of the parameters and then contrasts."""
    power = contrasts ** exponent[..., None]
    saturation: Array = power / (power + (c50**exponent)[..., None])
    return saturation


def _ratio_of_gaussians(diameters: Array, center: Array, ratio: Array, strength: Array) -> Array:
    """Return L(d, w_c) / (1 + k_s L(d, w_s)), shape of the parameters and then diameters."""
    inner = erf(diameters / center[..., None]) ** 2
    outer = erf(diameters / (center * ratio)[..., None]) ** 2
    response: Array = inner / (1 + strength[..., None] * outer)
    return response


def _gain_alone(shape: Array, curves: Array) -> tuple[Array, Array]:
    """Return the gain >= 0 that brings a shape nearest to a curve, and no baseline."""
    gain = np.maximum((shape * curves).sum(-1) / (shape**2).sum(-1), 0)
    return gain, np.zeros_like(gain)


def _gain_and_baseline(shape: Array, curves: Array) -> tuple[Array, Array]:
    """Return gain and baseline, both >= 0, that bring a shape nearest to a curve."""
    centred = shape - shape.mean(-1, keepdims=True)
    gain = np.maximum((centred * curves).sum(-1) / (centred**2).sum(-1), 0)
    baseline = curves.mean(-1) - gain * shape.mean(-1)
    gain = np.where(baseline < 0, _gain_alone(shape, curves)[0], gain)
    return gain, np.maximum(baseline, 0)


def _fit(
    shape_of: Callable[..., Array],
    solve: Callable[[Array, Array], tuple[Array, Array]],
    bounds: tuple[Sequence[float], Sequence[float]],
    starts: Sequence[Array],
    curves: Array,
    usable: Mask,
    progress: str | None,
) -> tuple[Array, Array]:
    """Search the logarithm of a shape's parameters within bounds, the best of several starts.

    Returns:
        Parameters (number of them, units), and r2 (units,); NaN for units that are not usable.
    """
    low, high = np.log(bounds[0]), np.log(bounds[1])
    parameters = np.full(starts[0].shape, np.nan)
    r2 = np.where(usable, -np.inf, np.nan)

    def error(logs: Array, curve: Array) -> Array:
        shape = shape_of(*np.exp(logs))
        gain, baseline = solve(shape, curve)
        return baseline + gain * shape - curve

    units = np.flatnonzero(usable)
    about = {"desc": progress, "unit": "unit", "leave": False}
    for unit in progress_bar(units, shown=progress is not None, **about):
        curve = curves[unit] / np.abs(curves[unit]).max()
        variation = ((curve - curve.mean()) ** 2).sum()
        for start in starts:
            begin = np.clip(np.log(start[:, unit]), low, high)
            found = least_squares(error, begin, bounds=(low, high), args=(curve,))
            explained = 1 - 2 * found.cost / variation
            if explained > r2[unit]:
                parameters[:, unit], r2[unit] = np.exp(found.x), explained
            if explained > EXACT_R2:
                break
    return parameters, r2


def _checked(name: str, stimuli: npt.ArrayLike, rates: npt.ArrayLike) -> tuple[Array, Array, Mask]:
    """Return stimuli, rates, and which units can be fitted: finite, not silent, not constant."""
    x = np.asarray(stimuli, dtype=np.float64)
    curves = np.asarray(rates, dtype=np.float64)
    if x.ndim != 1 or len(x) < 5 or x[0] < 0 or not np.all(np.diff(x) > 0):
        raise InputError(f"{name}={x.tolist()}; allowed: at least 5 numbers from 0 up, ascending")
    if curves.ndim != 2 or curves.shape[1] != len(x):
        raise InputError(f"rates has shape {curves.shape}; allowed: (units, {len(x)})")
    finite = np.isfinite(curves).all(axis=1, keepdims=True)
    curves = np.where(finite, curves, 0.0)
    largest = curves.max(axis=1)
    return x, curves, (largest > 0) & (np.ptp(curves, axis=1) > FLAT * largest)

"""What is read off tuning curves, against curves whose properties have a formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import iv

from vonenet.errors import InputError
from vonenet.physiology.tuning import (
    HALF_POWER,
    best_curve,
    circular_variance,
    f0,
    f1,
    frequency_peak_and_cuts,
    half_bandwidth,
    larger_component,
    modulation_ratio,
    orthogonal_preferred_ratio,
    preferred_orientation,
)

ORIENTATIONS = np.arange(12) * 15.0
FREQUENCIES = 0.386 * 2 ** (np.arange(22) / 4)
PHASES = np.arange(8) * 45.0
ANGULAR = (
    circular_variance,
    half_bandwidth,
    orthogonal_preferred_ratio,
    preferred_orientation,
)


def von_mises(angles, kappa, preferred=37.0):
    return np.exp(kappa * (np.cos(2 * np.deg2rad(angles - preferred)) - 1))


def log_gaussian(peak_cpd, sigma_octaves):
    return np.exp(-(np.log2(FREQUENCIES / peak_cpd) ** 2) / (2 * sigma_octaves**2))


@pytest.mark.parametrize("angles", [ORIENTATIONS, ORIENTATIONS - 22.5])
@pytest.mark.parametrize("kappa", [0.1, 1.0, 2.5])
def test_circular_variance_of_a_von_mises_curve(angles, kappa):
    expected = 1 - iv(1, kappa) / iv(0, kappa)
    assert circular_variance(angles, von_mises(angles, kappa)) == pytest.approx(expected, abs=1e-4)


@given(preferred=st.floats(0, 179.9), kappa=st.floats(0.2, 2), scale=st.floats(1e-3, 1e3))
def test_the_preferred_orientation_is_found_between_the_angles_shown(preferred, kappa, scale):
    found = preferred_orientation(ORIENTATIONS, scale * von_mises(ORIENTATIONS, kappa, preferred))
    assert 0 <= found < 180
    assert abs((found - preferred + 90) % 180 - 90) < 0.1


def test_an_orientation_of_0_is_not_180():
    curves = np.stack([von_mises(ORIENTATIONS, 2.0, angle) for angle in (0.0, -1e-9, 180.0)])
    assert np.all(preferred_orientation(ORIENTATIONS, curves) < 180)


def test_orthogonal_over_preferred():
    curve = 1 + 3 * von_mises(ORIENTATIONS, 2.0, preferred=45.0)
    expected = (1 + 3 * np.exp(-4.0)) / 4
    assert orthogonal_preferred_ratio(ORIENTATIONS, curve) == pytest.approx(expected)
    curve = np.array([9.0, 1, 1, 1, 2, 4, 1, 1, 1])  # 80 and 100 degrees off the peak: 2 and 4
    assert orthogonal_preferred_ratio(np.arange(9) * 20.0, curve) == pytest.approx(3 / 9)


def hanning_transfer(cycles_per_degree, reach_deg=27.0):
    """What a Hanning window that is zero from `reach_deg` on leaves of a sinusoid."""
    x = 2 * cycles_per_degree * reach_deg
    return np.sinc(x) / (1 - x**2)


@pytest.mark.parametrize("preferred", [0.0, 52.0, 172.5])
def test_half_bandwidth_of_a_cosine_under_a_hanning_window(preferred):
    curve = 1 + np.cos(2 * np.deg2rad(ORIENTATIONS - preferred))
    left = hanning_transfer(1 / 180)
    expected = np.rad2deg(np.arccos((HALF_POWER * (1 + left) - 1) / left)) / 2
    found = half_bandwidth(ORIENTATIONS, curve)
    assert found == pytest.approx(expected, abs=0.02)
    assert found > np.rad2deg(np.arccos(2 * HALF_POWER - 1)) / 2 + 0.2  # wider than without


@pytest.mark.parametrize(("peak", "sigma"), [(1.3, 0.5), (3.0, 0.8), (6.1, 0.4)])
def test_frequency_tuning_of_a_log_gaussian(peak, sigma):
    found, low, high = frequency_peak_and_cuts(FREQUENCIES, log_gaussian(peak, sigma))
    octaves = sigma * np.sqrt(-2 * np.log(HALF_POWER))
    assert np.log2(found / peak) == pytest.approx(0, abs=0.01)
    assert low == pytest.approx(peak * 2**-octaves, rel=2e-3)
    assert high == pytest.approx(peak * 2**octaves, rel=2e-3)
    assert np.log2(high / low) == pytest.approx(2 * octaves, abs=5e-3)


def test_frequency_tuning_takes_the_cuts_nearest_to_the_peak():
    one_peak = log_gaussian(6.0, 0.3)
    two_peaks = np.maximum(one_peak, 0.9 * log_gaussian(1.0, 0.3))
    _, low, _ = frequency_peak_and_cuts(FREQUENCIES, np.stack([one_peak, two_peaks]))
    assert low[1] == pytest.approx(low[0], rel=1e-2)


def test_a_curve_open_at_one_end_has_a_peak_and_one_cut():
    curves = np.stack([1 / FREQUENCIES, FREQUENCIES])
    peak, low, high = frequency_peak_and_cuts(FREQUENCIES, curves)
    assert peak == pytest.approx([FREQUENCIES[0], FREQUENCIES[-1]])
    assert high[0] == pytest.approx(FREQUENCIES[0] / HALF_POWER, rel=1e-2)
    assert low[1] == pytest.approx(FREQUENCIES[-1] * HALF_POWER, rel=1e-2)
    assert np.isnan([low[0], high[1]]).all()


def test_modulation_ratio():
    """The depth of a sinusoid; half pi of half-wave rectification."""
    depths = np.array([0.0, 0.3, 1.0])
    curves = 5 * (1 + depths[:, None] * np.cos(np.deg2rad(PHASES - 20)))
    assert modulation_ratio(curves) == pytest.approx(depths)
    half_wave = np.maximum(np.cos(np.arange(256) * np.pi / 128 - 0.6), 0)
    assert modulation_ratio(half_wave) == pytest.approx(np.pi / 2, abs=1e-3)


@pytest.mark.parametrize("function", ANGULAR)
def test_silent_units_and_nan_are_undefined_and_leave_others_alone(function):
    good = von_mises(ORIENTATIONS, 3.0)
    broken = np.where(np.arange(12) == 5, np.nan, good)
    found = function(ORIENTATIONS, np.stack([good, np.zeros(12), broken, 7 * good]))
    assert np.isnan(found).tolist() == [False, True, True, False]
    assert found[0] == pytest.approx(float(function(ORIENTATIONS, good)))
    assert found[3] == pytest.approx(found[0])
    curves = good * np.arange(1.0, 7.0).reshape(2, 3, 1)
    assert function(ORIENTATIONS, curves).shape == (2, 3)
    assert np.shape(function(ORIENTATIONS, good.astype(np.float32))) == ()


def test_flat_curves():
    flat = np.full(12, 0.1) * (1 + 1e-9 * np.arange(12))
    assert np.isnan(preferred_orientation(ORIENTATIONS, flat))
    assert np.isnan(half_bandwidth(ORIENTATIONS, flat))
    never_low = 5 + von_mises(ORIENTATIONS, 2.0)
    assert np.isnan(half_bandwidth(ORIENTATIONS, never_low))
    assert orthogonal_preferred_ratio(ORIENTATIONS, flat) == pytest.approx(1)
    curves = np.full((2, 22), [[0.1], [0.0]])
    assert np.isnan(frequency_peak_and_cuts(FREQUENCIES, curves)).all()
    assert np.isnan(modulation_ratio(np.zeros(8)))
    assert np.isnan(modulation_ratio(np.cos(np.deg2rad(PHASES)) - 1))


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        # The last is the first again; descending; too few
        (circular_variance, (np.linspace(0, 180, 12), np.ones(12)), "allowed"),
        (circular_variance, (ORIENTATIONS[::-1], np.ones(12)), "allowed"),
        (circular_variance, ([0.0, 90.0], np.ones(2)), "allowed"),
        (half_bandwidth, (ORIENTATIONS, np.ones((12, 11))), r"\(11, 12\)|\(12, 11\)"),
        (frequency_peak_and_cuts, ([0, 1, 2, 3], np.ones(4)), "above 0"),
        (frequency_peak_and_cuts, ([1, 2, 3], np.ones(3)), "at least 4"),
    ],
)
def test_angles_and_shapes_that_do_not_match_are_refused(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(*arguments)


def test_components_of_a_cycle():
    phases = np.deg2rad(np.arange(8) * 45)
    cycle = 3 + 2 * np.cos(phases - 1) + 0.5 * np.cos(2 * phases)
    rates = np.stack([cycle, np.full(8, 4.0)])
    np.testing.assert_allclose(f0(rates), [3, 4])
    np.testing.assert_allclose(f1(rates), [2, 0], atol=1e-12)
    np.testing.assert_allclose(
        larger_component(rates, np.array([1.5, 1.0])), [[1.5, 2], [3, 0]], atol=1e-12
    )


def test_the_best_curve_goes_through_the_maximum():
    responses = np.zeros((2, 3, 4, 5))
    responses[0, 1, :, 2] = [1, 9, 3, 2]
    responses[0, 2, :, 0] = 8  # more on the whole, but not at its best
    responses[1, 2, :, 0] = [5, 4, 6, 0]
    np.testing.assert_array_equal(best_curve(responses, along=2), [[1, 9, 3, 2], [5, 4, 6, 0]])

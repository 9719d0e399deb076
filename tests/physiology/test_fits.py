"""Fits of contrast and size tuning: planted parameters, definitions, and scipy's own curve_fit."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, curve_fit

from vonenet.errors import InputError
from vonenet.physiology.fits import GOOD_R2, naka_rushton_fit, size_tuning_fit

CONTRASTS = np.array([0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0])
DIAMETERS = np.geomspace(0.21, 9.5, 12)


def naka_rushton(c, baseline, r_max, c50, exponent):
    return baseline + r_max / (1 + (c50 / np.maximum(c, 1e-12)) ** exponent)


def gaussian_integral(diameter, width):
    """(2 / sqrt(pi) times the integral of exp(-y^2) from 0 to d / w), squared."""
    area, _ = quad(lambda y: np.exp(-(y**2)), 0, diameter / width)
    return (2 / np.sqrt(np.pi) * area) ** 2


def ratio_of_gaussians(diameters, gain, center, surround, strength):
    return np.array(
        [
            gain * gaussian_integral(d, center) / (1 + strength * gaussian_integral(d, surround))
            for d in np.atleast_1d(diameters)
        ]
    )


# gain, centre, surround (degrees), strength: none, weak, strong, very strong suppression
SIZES = [(20, 0.8, 4.0, 0.0), (20, 0.8, 4.0, 0.5), (50, 0.5, 1.5, 2.0), (5, 1.2, 5.0, 20.0)]


def test_naka_rushton_parameters_come_back():
    rng = np.random.default_rng(0)
    baseline, r_max = rng.uniform(0, 3, 20), rng.uniform(5, 50, 20)
    c50, exponent = rng.uniform(0.05, 0.8, 20), rng.uniform(1, 4, 20)
    planted = [
        naka_rushton(CONTRASTS, *each) for each in zip(baseline, r_max, c50, exponent, strict=True)
    ]
    fit = naka_rushton_fit(CONTRASTS, planted)
    np.testing.assert_allclose(fit.c50, c50, rtol=1e-3)
    np.testing.assert_allclose(fit.exponent, exponent, rtol=1e-3)
    np.testing.assert_allclose(fit.r_max, r_max, rtol=1e-3)
    np.testing.assert_allclose(fit.baseline, baseline, atol=1e-2)
    np.testing.assert_allclose(fit.r2, 1, atol=1e-6)
    np.testing.assert_allclose(fit.curve(CONTRASTS), planted, atol=1e-2)


def test_a_linear_unit_does_not_saturate():
    fit = naka_rushton_fit(CONTRASTS, [3 * CONTRASTS])
    assert fit.c50[0] > 1
    assert fit.r2[0] > 0.999


@pytest.mark.parametrize("truth", SIZES)
def test_size_properties_by_their_definitions(truth):
    fit = size_tuning_fit(DIAMETERS, [ratio_of_gaussians(DIAMETERS, *truth)])

    def response(diameter):
        return ratio_of_gaussians(diameter, *truth)[0]

    fine = np.linspace(DIAMETERS[0], DIAMETERS[-1], 2000)
    curve = ratio_of_gaussians(fine, *truth)
    peak, at, plateau = curve.max(), fine[curve.argmax()], curve[-1]
    assert fit.r2[0] > 0.9999
    assert fit.suppression_index[0] == pytest.approx(1 - plateau / peak, abs=2e-3)
    field = brentq(lambda d: response(d) - 0.95 * peak, DIAMETERS[0], at)
    assert fit.summation_field_deg[0] == pytest.approx(field, rel=1e-2)
    if 1 - plateau / peak >= 0.1:
        end = brentq(lambda d: response(d) - 1.05 * plateau, at, DIAMETERS[-1])
        assert fit.surround_diameter_deg[0] == pytest.approx(end, rel=1e-2)
    else:
        assert np.isnan(fit.surround_diameter_deg[0])


def test_size_parameters_come_back():
    truth = (50, 0.5, 1.5, 2.0)
    curve = ratio_of_gaussians(DIAMETERS, *truth)
    fit = size_tuning_fit(DIAMETERS, [curve])
    found = fit.gain[0], fit.center_deg[0], fit.surround_deg[0], fit.surround_gain[0]
    assert found == pytest.approx(truth, rel=1e-3)
    np.testing.assert_allclose(fit.curve(DIAMETERS)[0], curve, rtol=1e-4)


def test_weak_and_strong_surrounds_are_told_apart_across_the_ridge():
    """Curves on which a search from one start alone ends on the wrong side."""
    truths = (1, 0.348, 1.806, 2.05), (1, 1.066, 5.41, 1.80), (1, 1.005, 4.62, 0.44)
    curves = [ratio_of_gaussians(DIAMETERS, *truth) for truth in truths]
    assert size_tuning_fit(DIAMETERS, curves).r2.min() > 0.9999


CONTRAST_BOUNDS = (0, 0, 0.015, 0.5), (np.inf, np.inf, 10, 10)
SIZE_BOUNDS = (0, 0.06, 0.06, 0), (np.inf, 20, 60, 1e3)
CONTRAST = naka_rushton_fit, naka_rushton, CONTRASTS, CONTRAST_BOUNDS, 1e-6, 0.06
SIZE = size_tuning_fit, ratio_of_gaussians, DIAMETERS, SIZE_BOUNDS, 1e-4, 0.035


@pytest.mark.parametrize(
    ("fit_of", "model", "stimuli", "bounds", "tolerance", "noise", "truth"),
    [
        (*CONTRAST, (1.0, 30.0, 0.2, 2.0)),
        *((*SIZE, truth) for truth in [(20, 0.8, 3, 1), (90, 0.8, 1.2, 9), (20, 0.4, 4, 3)]),
    ],
)
def test_fits_are_as_good_as_curve_fit_from_the_truth(
    fit_of, model, stimuli, bounds, tolerance, noise, truth
):
    clean = model(stimuli, *truth)
    rng = np.random.default_rng(2)
    noisy = clean + noise * clean.max() * rng.standard_normal((6, len(stimuli)))
    fit = fit_of(stimuli, noisy)
    for curve, fitted, ours in zip(noisy, fit.curve(stimuli), fit.r2, strict=True):
        variation = ((curve - curve.mean()) ** 2).sum()
        assert ours == pytest.approx(1 - ((fitted - curve) ** 2).sum() / variation)
        theirs, _ = curve_fit(model, stimuli, curve, truth, bounds=bounds)
        left = ((model(stimuli, *theirs) - curve) ** 2).sum()
        assert ours >= 1 - left / variation - tolerance


@pytest.mark.parametrize(
    ("fit_of", "stimuli"), [(naka_rushton_fit, CONTRASTS), (size_tuning_fit, DIAMETERS)]
)
def test_units_without_a_fit_and_poor_fits(fit_of, stimuli):
    """Silent, negative and broken units; also those that do not depend on contrast."""
    n, rising = len(stimuli), np.sqrt(stimuli)
    hopeless = [np.zeros(n), -1 - rising, np.where(np.arange(n) == 2, np.nan, rising)]
    if fit_of is naka_rushton_fit:
        hopeless.append(np.full(n, 3.0))
    jagged = np.where(np.arange(n) % 2, 10.0, 1.0)
    fit = fit_of(stimuli, [rising, jagged, *hopeless])
    for name, values in vars(fit).items():
        assert np.isnan(values[2:]).all(), name
    assert np.isnan(fit.curve(stimuli)[2:]).all()
    assert fit.r2[0] >= GOOD_R2 > fit.r2[1]


def test_a_unit_that_sees_less_than_the_smallest_size_has_no_surround():
    fit = size_tuning_fit(DIAMETERS, [np.full(len(DIAMETERS), 3.0)])
    np.testing.assert_allclose(fit.curve(DIAMETERS)[0], 3.0, rtol=1e-6)
    assert fit.suppression_index[0] == pytest.approx(0, abs=1e-6)
    assert fit.summation_field_deg[0] == pytest.approx(DIAMETERS[0])
    assert np.isnan(fit.surround_diameter_deg[0])
    assert fit.r2[0] == 1


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_measurement_do_not_matter(scale):
    curve = ratio_of_gaussians(DIAMETERS, 20, 0.8, 4.0, 0.5)
    one, scaled = (size_tuning_fit(DIAMETERS, [c]) for c in (curve, scale * curve))
    assert scaled.suppression_index == pytest.approx(one.suppression_index, rel=1e-6)
    assert scaled.gain == pytest.approx(scale * one.gain, rel=1e-4)


@pytest.mark.parametrize(
    ("fit_of", "stimuli", "shape", "message"),
    [
        (naka_rushton_fit, CONTRASTS, 7, r"shape \(7,\)"),
        (size_tuning_fit, DIAMETERS, (12, 3), r"allowed: \(units, 12\)"),
        (naka_rushton_fit, [0.1, 0.2, 0.5, 1], (1, 4), "at least 5"),
        (naka_rushton_fit, CONTRASTS[::-1], (1, 7), "ascending"),
        (size_tuning_fit, [0, 1, 2, 3, 4], (1, 5), "blank subtracted"),
    ],
)
def test_bad_input_is_refused(fit_of, stimuli, shape, message):
    with pytest.raises(InputError, match=message):
        fit_of(stimuli, np.ones(shape))

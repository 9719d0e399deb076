"""The rate map, designs of stimuli, and what is read off the responses to them."""

import numpy as np
import pytest

from vonenet.errors import InputError
from vonenet.physiology.preparation import RateMap, fit_rate_map
from vonenet.physiology.stimuli import Grating, crossed
from vonenet.physiology.tuning import best_curve, f0, f1, larger_component


def test_medians_of_the_responsive_units_become_those_of_v1():
    rng = np.random.default_rng(0)
    spontaneous = rng.uniform(0.1, 0.3, 101)
    maxima = spontaneous + rng.uniform(1, 9, 101)
    maxima[:30] = spontaneous[:30] + 0.02 * (maxima - spontaneous).max()  # 5 of 243.1, and less
    rate_map = fit_rate_map(maxima, spontaneous)
    assert np.median(rate_map(maxima[30:])) == pytest.approx(33.8)
    assert np.median(rate_map(spontaneous[30:])) == pytest.approx(0.82)


def test_rates_are_rectified_before_and_after_the_map():
    np.testing.assert_allclose(RateMap(2.0, -3.0)([-5.0, 1.0, 4.0]), [0, 0, 5])
    np.testing.assert_allclose(RateMap(2.0, 1.0)([-5.0]), [1])


def test_units_that_do_not_respond_have_no_rates():
    with pytest.raises(InputError, match="no unit responds"):
        fit_rate_map(np.array([0.2, 0.1]), np.array([0.2, 0.3]))


def test_a_design_crosses_its_axes_and_shapes_its_responses():
    def grating(frequency, orientation):
        return Grating(frequency_cpd=frequency, orientation_deg=orientation)

    design = crossed(grating, frequency=(1, 2), orientation=(0, 45, 90))
    assert [s.frequency_cpd for s in design.stimuli] == [1, 1, 1, 2, 2, 2]
    assert [s.orientation_deg for s in design.stimuli] == [0, 45, 90] * 2
    responses = design.by_unit(np.arange(12).reshape(6, 2))
    assert responses.shape == (2, 2, 3)
    np.testing.assert_array_equal(responses[1], [[1, 3, 5], [7, 9, 11]])
    assert design.axis("orientation").tolist() == [0, 45, 90]


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

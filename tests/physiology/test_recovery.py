"""Built in beside measured: orientations around the circle, cut kernels, the noise's variance."""

import dataclasses

import numpy as np
import pytest

from tests.physiology.recorded import UNITS, drawn_of, recorded
from vonenet.physiology.recording import Curve
from vonenet.physiology.recovery import axial_correlation, recovered_parameters

SLOPE, OFFSET = 1 / 0.35, (0.07 + 1e-4) / 0.35**2  # the published noise


def noisy(recording, factor=1.0):
    """The recording with 4,000 trials of the noise model, its variance times a factor."""
    rng = np.random.default_rng(0)
    means = rng.uniform(0, 30, (len(UNITS), 12))
    means[:, 0] = 0
    deviation = np.sqrt(factor * (SLOPE * means + OFFSET))
    trials = np.maximum(means + deviation * rng.standard_normal((4000, *means.shape)), 0)
    curve = Curve("before noise", means, trials.var(axis=0, ddof=1))
    noise = recording.populations["noise"]
    noise = dataclasses.replace(noise, curves={"variance_before_noise": curve})
    return dataclasses.replace(
        recording,
        is_stochastic=True,
        populations=dict(recording.populations) | {"noise": noise},
        ground_truth=drawn_of(UNITS, noise_slope=SLOPE, noise_offset=OFFSET),
    )


@pytest.fixture(scope="module")
def recording():
    return recorded()


def named(recording):
    return {agreement.name: agreement for agreement in recovered_parameters(recording)}


def test_an_orientation_just_below_180_is_near_0(recording):
    orientation = recording.populations["orientation"]
    drawn = np.array([unit.orientation_deg for unit in UNITS])
    off = np.where(np.arange(8) % 2, 3.0, -3.0)  # the first, 0 degrees, is measured as 177
    properties = dict(orientation.properties) | {"preferred_orientation": (drawn + off) % 180}
    changed = dataclasses.replace(orientation, properties=properties)
    populations = dict(recording.populations) | {"orientation": changed}
    found = named(dataclasses.replace(recording, populations=populations))
    assert found["preferred_orientation"].value > 0.99
    unwrapped = drawn_of(UNITS).unwrap_orientation((drawn + off) % 180)
    np.testing.assert_allclose(unwrapped, drawn + off)


def test_cut_kernels_are_excluded_and_counted(recording):
    whole = np.arange(8) != 5
    angles = np.where(whole, [unit.orientation_deg for unit in UNITS], 0.0)
    drawn = drawn_of(UNITS, whole=whole, orientation_deg=angles)
    found = named(dataclasses.replace(recording, ground_truth=drawn))["preferred_orientation"]
    assert (found.n, found.excluded) == (7, 1)
    assert found.value > 0.999
    few = drawn_of(UNITS, whole=np.arange(8) < 2)  # too few to compare
    assert set(named(dataclasses.replace(recording, ground_truth=few))) == {"modulation_ratio"}


def test_the_noise_is_compared_with_its_model(recording):
    assert "variance" not in named(recording)  # which is deterministic
    sound, doubled = (named(noisy(recording, factor))["variance"] for factor in (1.0, 2.0))
    assert sound.value == pytest.approx(1, abs=0.02)
    assert sound.ci_low <= sound.value <= sound.ci_high
    assert sound.holds
    assert doubled.value > 1.8
    assert not doubled.holds


def test_the_rectified_noise_by_simulation():
    x = np.array([0.0, 0.3, 2.0, 40.0])
    rng = np.random.default_rng(1)
    draws = x + np.sqrt(SLOPE * x + OFFSET) * rng.standard_normal((400_000, 4))
    rectified = np.maximum(draws, 0)
    mean, variance = drawn_of(UNITS, noise_slope=SLOPE, noise_offset=OFFSET).rectified_moments(x)
    np.testing.assert_allclose(mean, rectified.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(variance, rectified.var(axis=0), rtol=0.01)


def test_the_correlation_of_orientations():
    """1 for equal ones, -1 for mirrored ones, none for unrelated ones, on a circle of 180."""
    rng = np.random.default_rng(2)
    angles = np.abs(rng.normal(30, 20, 2000)) % 180
    assert axial_correlation(angles, angles) == pytest.approx(1)
    assert axial_correlation(angles, (angles + 90) % 180) == pytest.approx(1)
    assert axial_correlation(angles, 180 - angles) == pytest.approx(-1)
    assert abs(axial_correlation(angles, rng.permutation(angles))) < 0.1
    noisy = (angles + rng.normal(0, 5, 2000)) % 180
    shifted = axial_correlation((angles + 77) % 180, (noisy + 77) % 180)
    assert axial_correlation(angles, noisy) == pytest.approx(shifted)


def test_a_difference_that_all_units_share_is_seen(recording):
    angles = np.array([unit.orientation_deg for unit in UNITS])
    turned = drawn_of(UNITS, orientation_deg=(angles + 30) % 180)
    found = named(dataclasses.replace(recording, ground_truth=turned))["preferred_orientation"]
    assert found.value > 0.99
    assert found.offset == pytest.approx(-30, abs=1)
    assert not found.holds
    octave = drawn_of(UNITS, frequency_cpd=2 * np.array([unit.frequency_cpd for unit in UNITS]))
    found = named(dataclasses.replace(recording, ground_truth=octave))["peak_spatial_frequency"]
    assert found.offset == pytest.approx(-1, abs=0.1)
    assert not found.holds

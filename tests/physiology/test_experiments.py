"""Every experiment finds what was planted in units that are formulas of the stimuli."""

import dataclasses
import math

import numpy as np
import pytest

from tests.physiology.planted import PlantedSubject, Unit
from vonenet.errors import InputError
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.experiments.tolhurst1983 import (
    fano_factor,
    mean_and_variance,
    noise_correlation,
)
from vonenet.physiology.preparation import RateMap, fit_rate_map, prepare
from vonenet.physiology.scores import PUBLISHED
from vonenet.physiology.stimuli import Canvas

ORIENTATIONS = (0.0, 15.0, 37.0, 90.0, 152.0, 171.0)
UNITS = [
    Unit(
        orientation_deg=angle,
        orientation_width_deg=14 + 3 * i,
        frequency_cpd=1.1 * 1.3**i,
        octaves=0.5 + 0.07 * i,
        size_deg=0.5 + 0.1 * i,
        suppression=0.8 * i,
        c50=0.2 + 0.08 * i,
        exponent=1.5 + 0.3 * i,
        simple=i % 2 == 0,
        masking=0.1 * i,
        gain=(1 + 0.3 * i) * (3 if i % 2 == 0 else 1),
        spontaneous=0.1,
    )
    for i, angle in enumerate(ORIENTATIONS)
]
FAR = Unit(x_deg=0.5)
SILENT = Unit(gain=0.0)
WEAK = dataclasses.replace(UNITS[0], gain=0.01)


@pytest.fixture(scope="module")
def prepared():
    return prepare(PlantedSubject([*UNITS, FAR, SILENT, WEAK]))


@pytest.fixture(scope="module")
def populations(prepared):
    return {name: run(prepared) for name, run in EXPERIMENTS.items()}


@pytest.fixture(scope="module")
def measured(populations):
    """Of the units that respond and have their fields at the stimuli."""
    each = (population.properties.items() for population in populations.values())
    return {name: values[: len(UNITS)] for items in each for name, values in items}


def planted(name):
    return np.array([getattr(unit, name) for unit in UNITS])


def test_units_are_left_out_for_their_place_or_their_silence_and_counted(
    prepared, populations, measured
):
    in_field = [True] * len(UNITS) + [False, False, True]
    assert prepared.in_field.tolist() == in_field
    assert set(PUBLISHED) <= set(measured)
    for name, population in populations.items():
        responsive = [*in_field[:-1], name == "receptive_field"]
        assert population.responsive.tolist() == responsive
        assert population.experiment == name
        assert population.counts["recorded"] == len(UNITS) + 3
        assert population.counts["in_field"] == len(UNITS) + 1
        assert population.counts["responsive"] == sum(responsive)
        for values in (*population.properties.values(), *population.quality.values()):
            assert values.shape == (len(UNITS) + 3,)
            assert np.isnan(values[~population.responsive]).all()
        for curve in population.curves.values():
            assert curve.rates.shape == (len(UNITS) + 3, curve.x.shape[-1])


def test_stimuli_are_put_where_the_receptive_fields_are():
    units = [dataclasses.replace(unit, x_deg=0.4, y_deg=-0.6) for unit in UNITS]
    there = prepare(PlantedSubject(units))
    assert there.center_deg == pytest.approx((0.4, -0.6), abs=0.01)
    assert there.in_field.all()
    found = EXPERIMENTS["orientation"](there).properties["preferred_orientation"]
    assert np.isfinite(found).all()


def test_receptive_fields(measured):
    """The patches have the fields' own size added: 4 standard deviations of 0.5 degrees."""
    assert measured["field_x"] == pytest.approx(0, abs=0.01)
    assert measured["field_y"] == pytest.approx(0, abs=0.01)
    # Cut at 5 % of the maximum, where a Gaussian's second moment is 1 - 0.05 (1 + ln 20) / 0.95
    share = 1 - 0.05 * math.log(20) / 0.95
    assert measured["field_diameter"] == pytest.approx(4 * 0.5 * math.sqrt(share), rel=0.02)


def test_orientation(measured, prepared, populations):
    found = measured["preferred_orientation"]
    off = (found - planted("orientation_deg") + 90) % 180 - 90
    assert np.abs(off).max() < 0.5
    assert found.min() >= -22.5
    assert found.max() < 157.5
    # Half width of a Gaussian at 0.707, a little wider for the smoothing and the spontaneous rate
    half = planted("orientation_width_deg") * math.sqrt(-2 * math.log(0.707))
    ratio = measured["bandwidth"] / half
    assert ratio.min() > 0.97
    assert ratio.max() < 1.4
    # The mean vector of a Gaussian, shortened by the spontaneous rate
    curves = populations["orientation"].curves["orientation"].rates[: len(UNITS)]
    evoked = 1 - prepared.spontaneous[: len(UNITS)] / curves.mean(axis=1)
    vector = evoked * np.exp(-2 * np.deg2rad(planted("orientation_width_deg")) ** 2)
    np.testing.assert_allclose(measured["circular_variance"], 1 - vector, atol=3e-3)
    variance, width = measured["circular_variance"], measured["bandwidth"]
    np.testing.assert_allclose(measured["cv_bandwidth_ratio"], variance / width)
    np.testing.assert_allclose(
        measured["opr_cv_difference"], measured["orth_pref_ratio"] - variance
    )
    assert measured["orientation_selective"].tolist() == [1] * len(UNITS)


def test_spatial_frequency(measured, populations):
    peak = measured["peak_spatial_frequency"]
    np.testing.assert_allclose(peak, planted("frequency_cpd"), rtol=0.03)
    low_over_high = 2 ** (-2 * planted("octaves") * math.sqrt(-2 * math.log(0.707)))
    np.testing.assert_allclose(measured["sf_bandwidth"], 100 * low_over_high, rtol=0.08)
    assert measured["sf_selective"].tolist() == [1] * len(UNITS)
    simple = planted("simple")
    assert np.isfinite(measured["sf_bandwidth_simple"]).tolist() == simple.tolist()
    assert np.isfinite(measured["sf_bandwidth_complex"]).tolist() == (~simple).tolist()
    for name, units in (("sf_bandwidth_simple", 3), ("sf_bandwidth", len(UNITS))):
        assert len(populations["spatial_frequency"].values(name)) == units


def test_modulation_phase_rates_and_noise(measured, prepared):
    simple = planted("simple")
    ratio, invariance = measured["modulation_ratio"], measured["phase_invariance"]
    # pi / 2 of a half-wave rectified cosine, a little less for the spontaneous rate
    assert ratio[simple] == pytest.approx(math.pi / 2, rel=0.06)
    assert ratio[~simple] == pytest.approx(0, abs=1e-6)
    assert invariance[simple] == pytest.approx(0, abs=1e-6)
    assert invariance[~simple] == pytest.approx(1)
    assert (measured["fano_factor"] == 0).all()  # without noise
    assert np.isnan(measured["noise_correlation"]).all()
    # The published medians, spikes per second
    assert np.median(measured["max_dc"]) == pytest.approx(33.8, rel=1e-6)
    assert np.median(prepared.spontaneous[: len(UNITS)]) == pytest.approx(0.82)


def test_size(measured):
    size, strength = planted("size_deg"), planted("suppression")
    diameters = np.geomspace(0.2, 6.7, 4000)[:, None]
    erf = np.vectorize(math.erf)
    curve = erf(diameters / size) ** 2 / (1 + strength * erf(diameters / (4 * size)) ** 2)
    expected = 1 - curve[-1] / curve.max(axis=0)
    np.testing.assert_allclose(measured["surround_suppression_index"], expected, atol=0.02)
    field = diameters[(curve >= 0.95 * curve.max(axis=0)).argmax(axis=0), 0]
    np.testing.assert_allclose(measured["summation_field"], field, rtol=0.05)
    suppressed = expected >= 0.1
    assert measured["strongly_suppressed"].tolist() == suppressed.astype(float).tolist()
    assert np.isfinite(measured["grating_summation_field"]).tolist() == suppressed.tolist()
    ratio = measured["surround_diameter"] / measured["grating_summation_field"]
    np.testing.assert_array_equal(measured["surround_to_summation_field"], ratio)


def test_contrast(measured, populations):
    np.testing.assert_allclose(measured["c50"], planted("c50"), rtol=0.02)
    np.testing.assert_allclose(measured["naka_rushton_exponent"], planted("exponent"), rtol=0.02)
    population = populations["contrast"]
    assert population.quality["c50"][: len(UNITS)].min() > 0.999
    assert population.counts["poor_fits"] == 0


def test_cross_orientation(measured):
    found = measured["cross_orientation_suppression"]
    np.testing.assert_allclose(found, planted("masking"), atol=0.02)


def test_poor_fits_are_counted():
    """A unit that answers to two contrasts only does not follow Naka and Rushton."""

    class Odd(Unit):
        def driven(self, grating):
            return super().driven(grating) * {0.125: 3, 1.0: 1}.get(grating.contrast, 0)

    odd = PlantedSubject([*UNITS, Odd(**dataclasses.asdict(UNITS[1]) | {"c50": 1e-3})])
    population = EXPERIMENTS["contrast"](prepare(odd))
    assert population.counts["poor_fits"] == 1
    assert np.isfinite(population.properties["c50"]).all()


def test_frequencies_and_sizes_that_do_not_fit_the_canvas_are_not_shown():
    small = prepare(PlantedSubject(UNITS[:3], Canvas(degrees=2, pixels=32)))
    assert small.gratings.axes["frequency_cpd"] == (0.77, 1.54, 3.08, 6.17)
    curves = {name: run(small).curves for name, run in EXPERIMENTS.items()}
    assert curves["size"]["size"].x.max() <= 2
    assert curves["spatial_frequency"]["spatial_frequency"].x.max() < 8


def test_silent_layers_and_fields_that_do_not_meet_are_refused():
    with pytest.raises(InputError, match="no unit of layer 'planted' responds"):
        prepare(PlantedSubject([SILENT]))
    units = [Unit(x_deg=x, y_deg=y, field_deg=0.3) for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    with pytest.raises(InputError, match=r"within 0.15 degrees of the others' median"):
        prepare(PlantedSubject(units))


def test_variance_and_fano_factor_of_poisson_counts():
    counts = np.random.default_rng(0).poisson([[[2.0, 9.0]], [[5.0, 1.0]]], size=(2, 4000, 2))
    trials = counts.transpose(1, 0, 2)
    means, variances = mean_and_variance(trials)
    np.testing.assert_allclose(means, trials.mean(axis=0))
    np.testing.assert_allclose(variances, trials.var(axis=0, ddof=1))
    np.testing.assert_allclose(fano_factor(trials), 1, atol=0.05)


def test_noise_correlations_are_those_planted():
    """Three units share a fifth of their variance; a fourth has its own, a fifth has none."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((2000, 3, 1)) * math.sqrt(0.2)
    trials = shared + rng.standard_normal((2000, 3, 5)) * math.sqrt(0.8)
    trials[..., 3] = rng.standard_normal((2000, 3))
    trials[..., 4] = 7
    trials += np.array([1, 10, 100])[:, None]  # signals are no noise
    found = noise_correlation(trials)
    np.testing.assert_allclose(found[:4], [0.4 / 3, 0.4 / 3, 0.4 / 3, 0], atol=0.03)
    assert np.isnan(found[4])


def test_medians_of_the_responsive_units_become_those_of_v1_and_rates_are_rectified():
    rng = np.random.default_rng(0)
    spontaneous = rng.uniform(0.1, 0.3, 101)
    maxima = spontaneous + rng.uniform(1, 9, 101)
    maxima[:30] = spontaneous[:30] + 0.02 * (maxima - spontaneous).max()  # 5 of 243.1, and less
    rate_map = fit_rate_map(maxima, spontaneous)
    assert np.median(rate_map(maxima[30:])) == pytest.approx(33.8)
    assert np.median(rate_map(spontaneous[30:])) == pytest.approx(0.82)
    np.testing.assert_allclose(RateMap(2.0, -3.0)([-5.0, 1.0, 4.0]), [0, 0, 5])
    np.testing.assert_allclose(RateMap(2.0, 1.0)([-5.0]), [1])
    with pytest.raises(InputError, match="no unit responds"):
        fit_rate_map(np.array([0.2, 0.1]), np.array([0.2, 0.3]))

"""Drawn parameters: the original's golden draws, the priors' distributions, and the seeds."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from scipy import stats

from vonenet.errors import InputError
from vonenet.params import generate_gabor_param
from vonenet.v1.parameters import (
    FREQUENCY_CPD,
    ORIENTATION_DEG,
    WIDTH_COUNTS,
    WIDTH_EDGES_CYCLES,
    GaborParameters,
    Histogram,
    draw_parameters,
)

ALL_PRIORS = ["biological", "by_cell_type", "uniform", "legacy", "legacy_uniform"]
NX_CYCLES = Histogram(WIDTH_EDGES_CYCLES, tuple(map(sum, WIDTH_COUNTS)), log=True)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_legacy_draws_are_the_originals(golden_parameters, case):
    n, seed, sf_corr, sf_max, sf_min = golden_parameters[f"case{case}_args"]
    drawn = draw_parameters(
        int(n), filters="legacy", seed=int(seed), sf_corr=sf_corr, sf_max=sf_max, sf_min=sf_min
    )
    names = ("orientation_deg", "frequency_cpd", "phase_deg", "nx_cycles", "ny_cycles")
    for ours, theirs in zip(names, ("theta", "sf", "phase", "nx", "ny"), strict=True):
        golden = golden_parameters[f"case{case}_{theirs}"]
        np.testing.assert_allclose(getattr(drawn, ours), golden, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("sf_min", "sf_max", "bins"), [(0, 9, (0.5, 8)), (0, 8, (0.5, 5.6)), (0.8, 5, (1, 4))]
)
def test_uniform_legacy_draws_are_those_of_the_originals_rand_param(sf_min, sf_max, bins):
    """Its table's bins count alike, and one that ends at sf_max is left out."""
    edges = [e for e in (0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8) if bins[0] <= e <= bins[1]]
    rng = np.random.RandomState(3)
    phase, orientation, frequency, nx, ny = (rng.rand(50) for _ in range(5))
    octaves = np.interp(frequency, np.linspace(0, 1, len(edges)), np.log2(edges))
    widths = (10 ** (1.2 * each - 1) for each in (nx, ny))
    expected = 2**octaves, 180 * orientation, 360 * phase, *widths
    drawn = generate_gabor_param(50, 3, True, 0.75, sf_max, sf_min)
    np.testing.assert_allclose(drawn, expected, rtol=1e-12)


@pytest.mark.parametrize("sf_corr", [0.75, 0.0, -0.6])
def test_copula_equals_numpys_multivariate_normal(sf_corr):
    rng = np.random.RandomState(5)
    rng.random_sample(200)  # phases and orientations come first
    normals = rng.multivariate_normal([0, 0], [[1, sf_corr], [sf_corr, 1]], 100)
    drawn = draw_parameters(100, filters="legacy", seed=5, sf_corr=sf_corr)
    expected = NX_CYCLES.quantile(stats.norm.cdf(normals[:, 0]))
    np.testing.assert_allclose(drawn.nx_cycles, expected, atol=1e-12)


def test_seeds_are_pinned_across_versions_and_machines():
    drawn = draw_parameters(3, seed=0)
    np.testing.assert_allclose(drawn.phase_deg, [197.5728, 257.4682, 216.9948], atol=1e-3)
    np.testing.assert_allclose(drawn.frequency_cpd, [1.58113, 3.22993, 3.57578], atol=1e-4)
    assert drawn.color_channel.tolist() == [0, 0, 2]


@pytest.mark.parametrize("filters", ALL_PRIORS)
def test_no_global_random_state_is_touched_and_nothing_warns(filters):
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (draw_parameters(512, filters=filters, seed=0) for _ in range(2))
        other = draw_parameters(512, filters=filters, seed=1)
    assert first.to_dict() == second.to_dict()
    assert not np.array_equal(first.frequency_cpd, other.frequency_cpd)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


@pytest.mark.parametrize("filters", ["biological", "uniform"])
@pytest.mark.parametrize(("sf_min", "sf_max"), [(0, 7), (3, 9), (0.6, 0.65), (2.5, 11.3)])
def test_frequency_limits_are_honoured_as_given(filters, sf_min, sf_max):
    f = draw_parameters(4000, filters=filters, sf_min=sf_min, sf_max=sf_max).frequency_cpd
    low, high = max(sf_min, 0.5), sf_max
    assert f.min() >= low
    assert f.max() <= high
    assert f.min() < low * 1.1
    assert f.max() > high / 1.1


def test_legacy_limits_snap_to_whole_bins_as_the_originals_do():
    assert draw_parameters(2000, filters="legacy", sf_max=7).frequency_cpd.max() < 5.6
    assert draw_parameters(2000, filters="legacy", sf_min=3).frequency_cpd.min() > 4.0


def test_biological_draws_follow_the_published_histograms():
    drawn = draw_parameters(20_000, sf_max=22.4, seed=3)
    for values, prior in [
        (np.where(drawn.orientation_deg > 157.5, -180, 0) + drawn.orientation_deg, ORIENTATION_DEG),
        (drawn.frequency_cpd, FREQUENCY_CPD),
        (drawn.nx_cycles, NX_CYCLES),
    ]:
        used = np.asarray(prior.counts) > 0
        observed = np.histogram(values, prior.edges)[0]
        assert observed.sum() == len(drawn)
        expected = np.asarray(prior.counts) / np.sum(prior.counts) * len(drawn)
        assert stats.chisquare(observed[used], expected[used]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("filters", "low", "high"), [("biological", 0.70, 0.78), ("uniform", -0.05, 0.05)]
)
def test_frequency_and_width_are_tied_as_the_prior_says(filters, low, high):
    drawn = draw_parameters(20_000, filters=filters)
    rho = stats.spearmanr(drawn.frequency_cpd, drawn.nx_cycles).statistic
    assert low < rho < high  # the rank correlation of a Gaussian copula of 0.75 is 0.73


def test_uniform_draws_are_uniform():
    drawn = draw_parameters(20_000, filters="uniform", sf_min=1, sf_max=8)
    for scaled in (
        drawn.orientation_deg / 180,
        np.log2(drawn.frequency_cpd) / 3,
        (np.log10(drawn.nx_cycles) + 1) / 1.2,
        (np.log10(drawn.ny_cycles) + 1) / 1.2,
    ):
        assert stats.kstest(scaled, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("filters", ["biological", "uniform"])
def test_the_two_phases_of_a_pair_see_one_colour(filters):
    drawn = draw_parameters(300, filters=filters)
    assert np.array_equal(drawn.color_channel, drawn.color_channel_q1)
    assert np.bincount(drawn.color_channel).min() > 70
    assert set(draw_parameters(300, filters=filters, in_chans=1).color_channel) == {0}


def test_a_cut_bin_keeps_its_share():
    cut = Histogram((1.0, 2.0, 4.0), (10, 6), log=True).between(1.0, 2**1.5)
    assert cut.edges == (1.0, 2.0, 2**1.5)
    np.testing.assert_allclose(cut.counts, (10, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": "bio"}, "filters must be one of biological, .*legacy_uniform, got 'bio'"),
        ({"sf_max": 0.3}, "between sf_min=0.0 and sf_max=0.3"),
        ({"sf_min": 9.0, "sf_max": 3.0}, "between sf_min=9.0 and sf_max=3.0"),
        ({"sf_max": 0.4, "filters": "legacy"}, "spans 0.5 to 8.0"),
        ({"sf_corr": 1.5}, "got 1.5"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        draw_parameters(10, **settings)


def test_parameters_that_do_not_fit_together_are_refused():
    drawn = draw_parameters(4)
    with pytest.raises(InputError, match="one length"):
        dataclasses.replace(drawn, phase_deg=drawn.phase_deg[:2])
    with pytest.raises(InputError, match="frequency_cpd must be positive"):
        dataclasses.replace(drawn, frequency_cpd=0 * drawn.frequency_cpd)
    with pytest.raises(InputError, match="fields"):
        GaborParameters.from_dict({"phase_deg": [1.0]})

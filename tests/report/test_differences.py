"""Intervals of means and differences: a published example, and coverage by simulation."""

import numpy as np
import pytest

from vonenet.report.differences import Estimate, difference, mean_estimate
from vonenet.results import wilson_interval


def estimate(correct, n):
    return Estimate(correct / n, *wilson_interval(int(correct), n))


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [  # Newcombe 1998, Stat Med 17:873, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_single_rows_reproduce_newcombes_table(a, b, low, high):
    found = difference(estimate(*a), estimate(*b))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_a_difference_turns_round_with_its_sides():
    a, b = estimate(700, 1000), estimate(640, 1000)
    forth, back = difference(a, b), difference(b, a)
    assert (back.value, back.low, back.high) == (-forth.value, -forth.high, -forth.low)


def test_signs_tell_whether_zero_is_excluded():
    assert Estimate(0.2, 0.1, 0.3).sign == 1
    assert Estimate(-0.2, -0.3, -0.1).sign == -1
    assert Estimate(0.1, 0.0, 0.3).sign == Estimate(0.0, -0.1, 0.1).sign == 0


def test_the_interval_of_single_rows_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    p, q, n, m = 0.7, 0.55, 200, 300
    hits = 0
    for a, b in zip(rng.binomial(n, p, 4000), rng.binomial(m, q, 4000), strict=True):
        found = difference(estimate(a, n), estimate(b, m))
        hits += found.low <= p - q <= found.high
    assert hits / 4000 == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("shared", [0.0, 0.6, 0.95])
def test_the_interval_of_means_covers_however_closely_conditions_go_together(shared):
    """Images decide alike under all conditions as far as `shared` says: one latent difficulty."""
    rng = np.random.default_rng(1)
    n, conditions, repeats = 200, 8, 1000
    thresholds = np.linspace(-1, 0.6, conditions)  # of a standard normal
    hits = 0
    for _ in range(repeats):
        means = []
        for _model in range(2):
            common = rng.standard_normal((n, 1))
            own = rng.standard_normal((n, conditions))
            latent = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
            correct = (latent < thresholds).sum(axis=0)
            means.append(mean_estimate([estimate(c, n) for c in correct]))
        found = difference(*means)
        hits += found.low <= 0 <= found.high
    assert hits / repeats > 0.94


def test_a_mean_of_one_is_itself():
    one = estimate(30, 100)
    assert mean_estimate([one]) == one

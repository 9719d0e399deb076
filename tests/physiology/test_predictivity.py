"""Predictivity on planted data, where noise says which r and which ceiling to expect."""

import warnings

import numpy as np
import pytest

from vonenet.errors import InputError
from vonenet.physiology.predictivity import (
    correlation,
    folds_of,
    internal_consistency,
    pls_predictions,
    predictivity,
    principal_axes,
)

STIMULI, UNITS = 400, 30


def planted(noise, repetitions, *, stimuli=STIMULI, features=6, seed=0):
    """Features, and responses linear in them: variance 1, `noise` added in every repetition."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stimuli, features))
    signal = x @ rng.standard_normal((features, UNITS))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    return x, signal + noise * rng.standard_normal((repetitions, stimuli, UNITS))


@pytest.mark.parametrize(("noise", "repetitions"), [(0.5, 2), (1.0, 3), (2.0, 10)])
def test_noise_says_what_to_expect(noise, repetitions):
    x, y = planted(noise, repetitions)
    reliability = 1 / (1 + noise**2 / repetitions)
    found = predictivity(x, y, components=6)
    assert found.median == pytest.approx(np.sqrt(reliability), abs=0.02)
    assert found.interval[0] < found.median < found.interval[1]
    assert found.ceiling == pytest.approx(reliability, abs=0.02)
    assert found.ceiled == pytest.approx(reliability**-0.5, abs=0.04)
    assert found.n_undefined == 0


def test_without_noise_and_repetitions_r_is_one_and_there_is_no_ceiling():
    x, y = planted(0, 1)
    found = predictivity(x, y[0])
    np.testing.assert_allclose(found.per_unit, 1, atol=1e-9)
    assert found.ceiling is found.ceiled is found.ceiled_interval is None


@pytest.mark.oracle
def test_r_is_scikit_learns_on_the_same_folds():
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 300)), rng.standard_normal((60, 1))
    y = y + x[:, :5].sum(axis=1, keepdims=True)
    fold_of = folds_of(60, 5, seed=3)
    by_fold = []
    for fold in range(5):
        held = fold_of == fold
        model = decomposition.PLSRegression(4, scale=False).fit(x[~held], y[~held])
        by_fold.append(np.corrcoef(model.predict(x[held]).ravel(), y[held].ravel())[0, 1])
    found = predictivity(x, y, components=4, folds=5, seed=3)
    assert found.per_unit[0] == pytest.approx(np.mean(by_fold), abs=1e-6)


def test_maps_are_flattened_and_a_seed_says_everything():
    x, y = planted(0.5, 2, features=12)
    maps = x.reshape(STIMULI, 3, 2, 2).astype(np.float32)  # precision hardly matters
    flat, same, other = (predictivity(a, y, seed=n) for a, n in ((x, 0), (maps, 0), (x, 1)))
    np.testing.assert_allclose(same.per_unit, flat.per_unit, atol=1e-5)
    assert not np.allclose(other.per_unit, flat.per_unit, atol=1e-5)
    again = predictivity(x, y)
    np.testing.assert_array_equal(again.per_unit, flat.per_unit)
    assert (again.interval, again.ceiled_interval) == (flat.interval, flat.ceiled_interval)


def test_the_interval_is_that_of_a_median_over_units():
    x, y = planted(1, 2)
    y = y + np.linspace(0, 4, UNITS) * np.random.default_rng(5).standard_normal(y.shape)
    found = predictivity(x, y)
    r = np.sort(found.per_unit)
    # Order statistics that hold the median with 95 %: binomial(30, 1/2)
    assert found.interval == pytest.approx((r[9], r[20]), abs=0.05)


def test_units_that_do_not_vary_are_counted_and_left_out():
    x, y = planted(0.5, 2)
    y[:, :, 3] = 0.1
    found = predictivity(x, y)
    assert np.flatnonzero(np.isnan(found.per_unit)).tolist() == [3]
    assert found.n_undefined == 1
    assert found.median == pytest.approx(np.nanmedian(found.per_unit))
    assert np.isnan(internal_consistency(y)[3])
    assert found.ceiling == pytest.approx(np.nanmedian(internal_consistency(y)))


def test_folds_are_even_and_a_seeds():
    fold_of = folds_of(103, 10, seed=0)
    assert np.ptp(np.bincount(fold_of, minlength=10)) <= 1
    assert not np.array_equal(fold_of, folds_of(103, 10, seed=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.ones((9, 5))}, r"\(9, 5\).*\(40, ...\)"),
        ({"features": np.ones(40)}, r"\(40,\)"),
        ({"features": np.full((40, 5), np.nan)}, "200 features are not finite"),
        ({"features": np.full((40, 5), "a")}, "type <U1"),
        ({"features": np.ones((40, 5))}, "no feature does"),
        ({"responses": np.ones((40, 3))}, "no unit varies"),
        ({"responses": np.full((40, 3), np.inf)}, "not finite"),
        ({"folds": 20}, "40 stimuli in 20 folds"),
        ({"folds": 1}, "at least 2 folds"),
        ({"components": 0}, "components=0"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    rng = np.random.default_rng(0)
    good = {"features": rng.random((40, 5)), "responses": rng.random((40, 3))}
    with pytest.raises(InputError, match=message) as error:
        predictivity(**(good | arguments))
    assert "\n" not in str(error.value)


def test_repetitions_that_do_not_agree_have_no_ceiling():
    x = np.random.default_rng(0).standard_normal((40, 5))
    once = np.random.default_rng(1).standard_normal((40, 8))
    with pytest.raises(InputError, match="median consistency"):
        predictivity(x, np.stack([once, -once + 0.01 * x[:, :1]]))
    with pytest.raises(InputError, match="at least 2 repetitions"):
        predictivity(x, once[None])


def regression_data(stimuli=60, features=80, units=9, new=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stimuli + new, features)) * np.geomspace(1, 0.02, features) + 3
    y = x[:stimuli] @ rng.standard_normal((features, units))
    return x[:stimuli], y + rng.standard_normal(y.shape), x[stimuli:]


@pytest.mark.oracle
@pytest.mark.parametrize(("units", "components"), [(1, 25), (9, 1), (9, 25), (300, 5)])
def test_predictions_are_scikit_learns(units, components):
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    x, y, new = regression_data(units=units)
    # To the end of its iteration: by default it stops at an error of 1e-3
    model = decomposition.PLSRegression(components, scale=False, tol=0, max_iter=3000)
    with warnings.catch_warnings(action="ignore"):  # that it did not stop before
        expected = model.fit(x, y).predict(new)
    found = pls_predictions(x, y, new, components)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-6, atol=1e-6)


def test_with_every_component_it_is_least_squares():
    x, y, new = regression_data(stimuli=60, features=12)
    with_one = np.column_stack([np.ones(60), x])
    weights = np.linalg.lstsq(with_one, y, rcond=None)[0]
    expected = np.column_stack([np.ones(7), new]) @ weights
    # More are asked for than there are
    np.testing.assert_allclose(pls_predictions(x, y, new, 25), expected, atol=1e-8)


@pytest.mark.parametrize(("offset", "dtype"), [(100, np.float32), (1e8, np.float64)])
def test_rotation_keeps_distances_across_blocks_of_features(offset, dtype):
    wide = (np.random.default_rng(0).standard_normal((5, 40_000)) + offset).astype(dtype)
    inner = principal_axes(wide)
    assert inner.shape == (5, 5)
    for i in range(5):
        distance = np.linalg.norm(wide[0].astype(float) - wide[i])
        assert np.linalg.norm(inner[0] - inner[i]) == pytest.approx(distance, abs=1e-4)


def test_features_that_say_nothing_predict_the_mean():
    x, y, new = regression_data()
    expected = np.tile(y.mean(axis=0), (7, 1))
    np.testing.assert_allclose(pls_predictions(np.ones_like(x), y, new, 5), expected)
    flat = np.tile(y[0], (60, 1))
    np.testing.assert_allclose(pls_predictions(x, flat, new, 5), np.tile(y[0], (7, 1)))


def test_correlation_is_numpys_and_undefined_for_constants():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 20, 3))
    a[:, 2] = 0.1  # whose mean is not 0.1 to the last bit
    found = correlation(a, b)
    expected = np.corrcoef(a[:, :2].T, b[:, :2].T)[[0, 1], [2, 3]]
    np.testing.assert_allclose(found, [*expected, np.nan])
    assert np.isnan(correlation(b, a)[2])

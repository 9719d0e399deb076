"""Predictivity on planted data, where noise says which r and which ceiling to expect."""

import numpy as np
import pytest

from vonenet.errors import InputError
from vonenet.physiology.pls import correlation
from vonenet.physiology.predictivity import folds_of, internal_consistency, predictivity

STIMULI, UNITS = 400, 30


def planted(noise, repetitions, *, stimuli=STIMULI, features=6, seed=0):
    """Features, and responses linear in them: variance 1, `noise` added in every repetition."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stimuli, features))
    signal = x @ rng.standard_normal((features, UNITS))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    return x, signal + noise * rng.standard_normal((repetitions, stimuli, UNITS))


@pytest.mark.parametrize(("noise", "repetitions"), [(0.5, 2), (1.0, 4), (2.0, 10), (1.0, 3)])
def test_noise_says_what_to_expect(noise, repetitions):
    x, y = planted(noise, repetitions)
    reliability = 1 / (1 + noise**2 / repetitions)
    found = predictivity(x, y, components=6)
    assert found.median == pytest.approx(np.sqrt(reliability), abs=0.02)
    assert found.interval[0] < found.median < found.interval[1]
    assert found.ceiling == pytest.approx(reliability, abs=0.02)
    assert found.ceiled == pytest.approx(reliability**-0.5, abs=0.04)
    assert found.explained_variance == found.ceiled**2
    assert found.noise_corrected == pytest.approx(1, abs=0.02)
    assert found.n_undefined == 0


def test_without_noise_and_repetitions_r_is_one_and_there_is_no_ceiling():
    x, y = planted(0, 1)
    found = predictivity(x, y[0])
    np.testing.assert_allclose(found.per_unit, 1, atol=1e-9)
    absent = (
        found.ceiling_per_unit,
        found.ceiling,
        found.ceiled,
        found.ceiled_interval,
        found.explained_variance,
        found.noise_corrected,
    )
    assert absent == (None,) * 6


def test_features_of_other_stimuli_predict_nothing():
    x, y = planted(0.5, 4)
    found = predictivity(np.random.default_rng(1).permutation(x), y)
    assert found.median == pytest.approx(0, abs=0.1)
    assert found.ceiling > 0.9


def test_features_that_carry_a_share_of_the_signal_explain_that_share():
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2000, 20)), rng.standard_normal((20, UNITS))
    shown, hidden = x[:, :10] @ weights[:10], x[:, 10:] @ weights[10:]
    found = predictivity(x[:, :10], shown + hidden, components=10)
    expected = shown.std(axis=0) / (shown + hidden).std(axis=0)
    np.testing.assert_allclose(found.per_unit, expected, atol=0.05)


@pytest.mark.oracle
def test_r_is_scikit_learns_on_the_same_folds():
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 300)), rng.standard_normal((60, 1))
    y = y + x[:, :5].sum(axis=1, keepdims=True)
    fold_of = folds_of(60, 5, None, seed=3)
    by_fold = []
    for fold in range(5):
        held = fold_of == fold
        model = decomposition.PLSRegression(4, scale=False).fit(x[~held], y[~held])
        by_fold.append(np.corrcoef(model.predict(x[held]).ravel(), y[held].ravel())[0, 1])
    found = predictivity(x, y, components=4, folds=5, seed=3)
    assert found.per_unit[0] == pytest.approx(np.mean(by_fold), abs=1e-6)


def test_maps_are_flattened_and_precision_hardly_matters():
    x, y = planted(0.5, 2, features=12)
    flat = predictivity(x, y)
    maps = predictivity(x.reshape(STIMULI, 3, 2, 2).astype(np.float32), y)
    np.testing.assert_allclose(maps.per_unit, flat.per_unit, atol=1e-5)


def test_a_seed_says_everything():
    x, y = planted(1, 4)
    one, same, other = (predictivity(x, y, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.per_unit, same.per_unit)
    assert (one.interval, one.ceiled_interval) == (same.interval, same.ceiled_interval)
    assert not np.array_equal(one.per_unit, other.per_unit)


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
    assert np.isnan(found.ceiling_per_unit[3])


@pytest.mark.parametrize("repetitions", [2, 3, 7, 8])
def test_consistency_of_odd_and_even_repetitions(repetitions):
    _, y = planted(1.5, repetitions, stimuli=2000)
    expected = 1 / (1 + 1.5**2 / repetitions)
    assert np.mean(internal_consistency(y)) == pytest.approx(expected, abs=0.01)


def test_consistency_is_what_a_second_recording_shows():
    _, first = planted(1, 4)
    _, both = planted(1, 8)
    agreement = correlation(both[:4].mean(axis=0), both[4:].mean(axis=0))
    assert np.mean(internal_consistency(first)) == pytest.approx(agreement.mean(), abs=0.02)


@pytest.mark.parametrize("stimuli", [100, 103])
def test_folds_are_even_and_strata_within_them(stimuli):
    labels = np.array(["texture", "noise", "noise", "noise"])[np.arange(stimuli) % 4]
    fold_of = folds_of(stimuli, 10, labels, seed=0)
    counts = np.bincount(fold_of, minlength=10)
    assert np.ptp(counts) <= 1
    textures = np.bincount(fold_of[labels == "texture"], minlength=10)
    assert np.ptp(textures) <= 1
    assert not np.array_equal(fold_of, folds_of(stimuli, 10, labels, seed=1))
    plain = folds_of(stimuli, 10, None, seed=0)
    assert np.ptp(np.bincount(plain)) <= 1


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
        ({"responses": np.ones(40)}, r"allowed: \(stimuli, units\)"),
        ({"folds": 20}, "40 stimuli in 20 folds"),
        ({"folds": 1}, "at least 2 folds"),
        ({"components": 0}, "components=0"),
        ({"strata": np.zeros(39)}, r"\(39,\).*\(40,\)"),
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

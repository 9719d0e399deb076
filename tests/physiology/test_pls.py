"""Partial least squares: scikit-learn's, and what must not change a prediction."""

import warnings

import numpy as np
import pytest

from vonenet.physiology.pls import correlation, pls_predictions, rotated


def data(stimuli=60, features=200, units=9, new=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((stimuli + new, features)) * np.geomspace(1, 0.02, features) + 3
    y = x[:stimuli] @ rng.standard_normal((features, units))
    return x[:stimuli], y + rng.standard_normal(y.shape), x[stimuli:]


@pytest.mark.oracle
@pytest.mark.parametrize(("units", "components"), [(1, 25), (9, 1), (9, 25), (300, 5)])
def test_predictions_are_scikit_learns(units, components):
    decomposition = pytest.importorskip("sklearn.cross_decomposition")
    x, y, new = data(units=units)
    # To the end of its iteration: by default it stops at an error of 1e-3
    model = decomposition.PLSRegression(components, scale=False, tol=0, max_iter=3000)
    with warnings.catch_warnings(action="ignore"):  # that it did not stop before
        expected = model.fit(x, y).predict(new)
    found = pls_predictions(x, y, new, components)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-6, atol=1e-6)


def by_projection(x, y, new, components):
    """The same regression as one matrix: W (P'W)^-1 Q', with W from whole decompositions."""
    centred, left = x - x.mean(axis=0), x - x.mean(axis=0)
    wanted = y - y.mean(axis=0)
    weights, loadings, answers = [], [], []
    for _ in range(components):
        weights.append(np.linalg.svd(left.T @ wanted)[0][:, 0])
        scores = left @ weights[-1]
        loadings.append(left.T @ scores / (scores @ scores))
        answers.append(wanted.T @ scores / (scores @ scores))
        left = left - np.outer(scores, loadings[-1])
    w, p, q = (np.stack(each, axis=1) for each in (weights, loadings, answers))
    assert np.linalg.matrix_rank(centred @ w) == components
    return (new - x.mean(axis=0)) @ w @ np.linalg.inv(p.T @ w) @ q.T + y.mean(axis=0)


@pytest.mark.parametrize("units", [9, 300])
def test_predictions_are_those_of_one_projection(units):
    x, y, new = data(units=units)
    expected = by_projection(x, y, new, 25)
    np.testing.assert_allclose(pls_predictions(x, y, new, 25), expected, rtol=1e-7, atol=1e-7)


def test_with_every_component_it_is_least_squares():
    x, y, new = data(stimuli=60, features=12)
    with_one = np.column_stack([np.ones(60), x])
    weights = np.linalg.lstsq(with_one, y, rcond=None)[0]
    expected = np.column_stack([np.ones(7), new]) @ weights
    # More are asked for than there are
    np.testing.assert_allclose(pls_predictions(x, y, new, 25), expected, atol=1e-8)


@pytest.mark.parametrize("components", [1, 6, 40])
def test_rotation_leaves_predictions_as_they_are(components):
    x, y, new = data()
    both = rotated(np.concatenate([x, new]))
    assert both.shape == (67, 67)
    np.testing.assert_allclose(
        pls_predictions(both[:60], y, both[60:], components),
        pls_predictions(x, y, new, components),
        atol=1e-9,
    )


@pytest.mark.parametrize(("offset", "dtype"), [(100, np.float32), (1e8, np.float64)])
def test_rotation_keeps_distances_across_blocks_of_features(offset, dtype):
    wide = (np.random.default_rng(0).standard_normal((5, 40_000)) + offset).astype(dtype)
    inner = rotated(wide)
    assert inner.shape == (5, 5)
    for i in range(5):
        distance = np.linalg.norm(wide[0].astype(float) - wide[i])
        assert np.linalg.norm(inner[0] - inner[i]) == pytest.approx(distance, abs=1e-4)


def test_features_that_say_nothing_predict_the_mean():
    x, y, new = data()
    expected = np.tile(y.mean(axis=0), (7, 1))
    np.testing.assert_allclose(pls_predictions(np.ones_like(x), y, new, 5), expected)
    flat = np.tile(y[0], (60, 1))
    np.testing.assert_allclose(pls_predictions(x, flat, new, 5), np.tile(y[0], (7, 1)))


def test_correlation_is_numpys_and_undefined_for_constants():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 20, 3))
    a[:, 2] = 0.1  # whose mean is not 0.1 to the last bit
    found = correlation(a, b)
    for column in range(2):
        expected = np.corrcoef(a[:, column], b[:, column])[0, 1]
        assert found[column] == pytest.approx(expected)
    assert np.isnan(found[2])
    assert np.isnan(correlation(b, a)[2])

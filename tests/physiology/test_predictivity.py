"""Predictivity on planted data, where noise says which r and which ceiling to expect."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from vonenet import VOneBlock
from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.physiology.predictivity import (
    before_noise,
    correlation,
    expected_cost,
    folds_of,
    internal_consistency,
    layer_responses,
    pls_predictions,
    predictivity,
    predictivity_of,
    principal_axes,
    show,
    usable_neurons,
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
        ({"responses": np.ones((40, 3))}, "none of 3 units .* same response to every image: 3"),
        ({"responses": np.full((40, 3), np.inf)}, "120 responses of 3 units are infinite"),
        ({"responses": np.full((40, 3), np.nan)}, "none of 3 units"),
        ({"folds": 20}, "40 stimuli in 20 folds"),
        ({"folds": 1}, "at least 2 folds"),
        ({"components": 0}, "components must be 1 or more, got 0"),
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
    inner = principal_axes(wide, np.ones(5, bool))
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


def with_missing(y, least, seed=0):
    """Responses of which an image and a unit have any number of repetitions from `least` on."""
    rng = np.random.default_rng(seed)
    last = rng.integers(least, len(y) + 1, y.shape[1:])
    return np.where(np.arange(len(y))[:, None, None] < last, y, np.nan)


def test_consistency_with_missing_repetitions_is_that_of_a_loop_over_images():
    """An independent way: each unit and image drawn by itself, r by numpy, k by plain averages."""
    y = with_missing(planted(1.5, 5, stimuli=40)[1][:, :, :4], least=1)
    rng, found = np.random.default_rng(1), internal_consistency(y)
    for unit in range(4):
        present = [values[np.isfinite(values)] for values in y[:, :, unit].T]
        repeated = [values for values in present if len(values) >= 2]
        agreement = []
        for _ in range(300):
            halves = []
            for values in repeated:
                drawn, half = rng.permutation(values), len(values) // 2
                halves.append((drawn[:half].mean(), drawn[half : 2 * half].mean()))
            agreement.append(np.corrcoef(np.transpose(halves))[0, 1])
        r = np.mean(agreement)
        of_halves = np.mean([1 / (len(values) // 2) for values in repeated])
        k = of_halves / np.mean([1 / len(values) for values in present])
        assert found[unit] == pytest.approx(k * r / (1 + (k - 1) * r), abs=0.02)


def test_missing_repetitions_leave_the_expected_r_and_ceiling():
    """Two independent recordings with the same numbers agree as the ceiling says."""
    noise, (x, signal) = 2.0, planted(0, 1)
    rng = np.random.default_rng(7)
    shape = (10, *signal.shape[1:])
    one, other = (
        with_missing(signal + noise * rng.standard_normal(shape), least=2) for _ in range(2)
    )
    means = [np.nanmean(each, axis=0) for each in (one, other)]
    found = predictivity(x, one, components=6)
    assert found.ceiling == pytest.approx(np.median(correlation(*means)), abs=0.03)
    assert found.median == pytest.approx(np.median(correlation(means[0], signal[0])), abs=0.02)
    assert found.neurons.repetitions == (2, 10)
    assert found.neurons.missing == pytest.approx(0.4, abs=0.02)
    assert found.n_undefined == 0


def test_units_that_cannot_be_predicted_are_named_and_the_others_are_as_without_them():
    x, y = planted(0.5, 3)
    y = with_missing(y, least=1)
    holes = np.insert(y, [2, 5], np.nan, axis=2)
    holes[:, 10:, 2] = 1.5
    holes[:, :, 6] = 7.0
    empty = np.full((3, 1, holes.shape[2]), np.nan)
    holes = np.concatenate([holes[:, :5], empty, holes[:, 5:]], axis=1)
    neurons = usable_neurons(holes)
    assert {reason: which.tolist() for reason, which in neurons.left_out.items()} == {
        "no response to some images": [2],
        "the same response to every image": [6],
    }
    assert np.flatnonzero(~neurons.stimuli).tolist() == [5]
    with_empty = predictivity(np.insert(x, 5, 99.0, axis=0), holes)
    plain = predictivity(x, y)
    assert np.flatnonzero(np.isnan(with_empty.per_unit)).tolist() == [2, 6]
    np.testing.assert_allclose(np.delete(with_empty.per_unit, [2, 6]), plain.per_unit)
    assert (with_empty.n_undefined, with_empty.ceiling) == (2, plain.ceiling)


def test_what_a_mask_hides_is_missing():
    x, y = planted(0.5, 3)
    y = with_missing(y, least=1)
    hidden = np.ma.masked_array(np.where(np.isnan(y), 1e6, y), np.isnan(y))
    np.testing.assert_array_equal(predictivity(x, hidden).per_unit, predictivity(x, y).per_unit)
    with pytest.raises(InputError, match="1 features are not finite"):
        predictivity(np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 3), y)


@pytest.mark.parametrize("seed", range(20))
def test_a_value_lies_inside_its_interval(seed):
    x, y = planted(1.5, 3, stimuli=60, seed=seed)
    found = predictivity(x, with_missing(y, 1, seed)[:, :, : 1 + seed], components=3, folds=5)
    assert found.interval[0] <= found.median <= found.interval[1]
    assert found.ceiled_interval[0] <= found.ceiled <= found.ceiled_interval[1]
    assert found.neurons.ceiling_interval[0] <= found.ceiling <= found.neurons.ceiling_interval[1]


@pytest.fixture
def shown(monkeypatch):
    """Features of layers, (images, features) each, in batches of 2."""
    monkeypatch.setattr("vonenet.physiology.predictivity.BATCH", 2)

    def features(model, layers, images, **options):
        batches = {name: [] for name in layers}
        show(model, layers, images, lambda name, each: batches[name].append(each), **options)
        return {name: torch.cat(each) for name, each in batches.items()}

    return features


def test_layers_in_one_pass_are_those_of_passes_of_their_own(shown):
    """Also of a layer whose output an activation overwrites in place."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    images, calls = list(torch.rand(5, 1, 8, 8)), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    together = shown(model, ["0", "1", "2"], images)
    assert len(calls) == 3
    for name, features in together.items():
        torch.testing.assert_close(features, shown(model, [name], images)[name])
    assert together["0"].min() < 0


@pytest.fixture
def network():
    torch.manual_seed(0)
    block = VOneBlock(simple_channels=8, complex_channels=8, image_size=128, visual_degrees=4)
    return PixelModel(nn.Sequential(block, nn.Conv2d(16, 4, 3)), 0.5, 0.5)


def on_grey(n, side, pixels=128):
    before = (pixels - side) // 2
    sides = (before, pixels - side - before) * 2
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))
    return list(functional.pad(images, sides, value=128 / 255))


@pytest.mark.parametrize("side", [8, 15, 48, 100, 128])
@pytest.mark.parametrize("layers", [["0", "1"], ["0.simple", "1"]])
def test_a_flat_margin_changes_no_response(network, shown, side, layers):
    """Which is a promise of numbers: also of an image that fills the canvas after all."""
    images = [*on_grey(4, side), torch.rand(3, 128, 128)]
    plain = shown(before_noise(network, layers), layers, images)
    margin = (128 - side) // 2
    found = shown(before_noise(network, layers, margin), layers, images)
    for name in layers:
        torch.testing.assert_close(found[name], plain[name], rtol=1e-5, atol=1e-6)


def test_in_a_flat_margin_only_the_middle_is_computed(network, shown):
    sizes, forward = [], type(network.model[0]).mean_response

    def counted(block, images):
        sizes.append(images.shape[-1])
        return forward(block, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(network.model[0]), "mean_response", counted)
        shown(before_noise(network, ["0"], 56), ["0"], on_grey(4, 16))
    assert sizes[-2:] == [80, 80]  # the image, and twice a kernel's half, 16 px, on each side


def test_noise_is_left_out_and_the_model_is_left_as_it_was_also_for_other_threads(network, shown):
    before, noisy = dict(vars(network.model[0])), []
    images = on_grey(2, 128)

    def in_between(*_):
        with ThreadPoolExecutor(1) as pool:
            pixels = torch.stack(images)
            noisy.extend(pool.submit(network.model[0], pixels).result() for _ in range(2))

    hook = network.model[1].register_forward_pre_hook(in_between)
    silent = shown(before_noise(network, ["0", "1"]), ["0", "1"], images)
    hook.remove()
    assert vars(network.model[0]) == before
    assert not torch.equal(*noisy)
    mean = network.model[0].mean_response(network.normalise(torch.stack(images)))
    torch.testing.assert_close(silent["0"], mean.permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("passes", [1, 3])
def test_axes_give_the_predictions_of_all_features(network, shown, passes):
    """In however many passes, without features that do not differ, of images that are used."""
    layers, images = ["0", "1"], on_grey(30, 24)
    model = before_noise(network, layers, 52)
    responses = np.random.default_rng(0).standard_normal((30, 4))
    responses[7] = np.nan
    neurons = usable_neurons(responses)
    responses_of = layer_responses(model, layers, lambda: images, neurons.stimuli, passes=passes)
    cost = expected_cost(model, layers, lambda: images, len(images), most_gigabytes=1e-6)
    features = shown(model, layers, images)
    assert cost.passes > 1
    assert cost.features < 0.7 * sum(each.shape[1] for each in features.values())
    for name in layers:
        options = {"components": 3, "folds": 5}
        expected = predictivity(features[name].double().numpy(), responses, **options)
        found = predictivity_of(responses_of[name].axes, neurons, **options)
        np.testing.assert_allclose(found.per_unit, expected.per_unit, atol=1e-4)


def test_features_that_are_not_finite_are_refused(shown):
    model = nn.Sequential(nn.Conv2d(1, 40, 3))
    nn.init.constant_(model[0].weight, torch.nan)
    with pytest.raises(InputError, match="not finite"):
        layer_responses(model, ["0"], lambda: torch.rand(9, 1, 8, 8), np.ones(9, bool))

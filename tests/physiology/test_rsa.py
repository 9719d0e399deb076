"""Representational similarity by its definition, pair by pair with scipy, and on planted noise."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tests.physiology.test_predictivity import on_grey
from vonenet import VOneBlock
from vonenet.data import PixelModel
from vonenet.physiology.predictivity import before_noise, layer_responses, show, usable_neurons
from vonenet.physiology.rsa import dissimilarities, pairs_of, similarities_of, spearman

RNG = np.random.default_rng(0)


def by_scipy(responses):
    """One pair of images after the other, (pairs,)."""
    n = len(responses)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    return [1 - stats.pearsonr(responses[i], responses[j]).statistic for i, j in pairs]


def test_similarity_is_scipys_also_of_ties():
    layer = RNG.standard_normal((12, 40)).round(1) + 3
    neurons = layer[:, :9] + RNG.standard_normal((12, 9)).round(1)
    np.testing.assert_allclose(pairs_of(dissimilarities(layer)), by_scipy(layer), atol=1e-12)
    found = similarities_of([dissimilarities(layer)], neurons, 0.8)[0]
    expected = stats.spearmanr(by_scipy(layer), by_scipy(neurons)).statistic
    assert found.spearman == pytest.approx(expected, abs=1e-12)
    assert found.interval[0] < found.spearman < found.interval[1]
    assert (found.ceiling, found.pairs) == (0.8, 66)
    tied = RNG.integers(0, 3, 50).astype(float), RNG.integers(0, 4, 50).astype(float)
    assert spearman(*tied) == pytest.approx(stats.spearmanr(*tied).statistic, abs=1e-12)


@pytest.mark.parametrize("passes", [1, 3])
def test_dissimilarities_of_layers_are_those_of_all_their_features(passes):
    """In however many passes, also of features that are the same for all images, as on grey."""
    torch.manual_seed(0)
    block = VOneBlock(simple_channels=8, complex_channels=8, image_size=128, visual_degrees=4)
    network = PixelModel(nn.Sequential(block, nn.Conv2d(16, 4, 3)), 0.5, 0.5)
    layers, images = ["0", "1"], on_grey(20, 24)
    model, used = before_noise(network, layers, 52), np.arange(20) != 7
    found = layer_responses(model, layers, lambda: images, used, passes=passes)
    whole = {name: [] for name in layers}
    show(model, layers, images, lambda name, features: whole[name].append(features))
    for name in layers:
        features = torch.cat(whole[name]).double().numpy()[used]
        assert (features == features[0]).all(axis=0).mean() > 0.3
        expected = dissimilarities(features)
        np.testing.assert_allclose(found[name].dissimilarities, expected, atol=1e-5)


def test_the_ceiling_is_what_dissimilarities_without_noise_reach():
    signal = RNG.standard_normal((80, 60)) @ RNG.standard_normal((60, 60)) / 4
    recorded = signal + 4 * RNG.standard_normal((8, 80, 60))
    neurons = usable_neurons(recorded)
    reached = similarities_of([dissimilarities(signal)], neurons.means, neurons.rsa_ceiling)[0]
    assert 0.4 < reached.spearman < 0.9
    assert reached.spearman == pytest.approx(neurons.rsa_ceiling, abs=0.03)
    assert usable_neurons(recorded.mean(axis=0)).rsa_ceiling is None


def test_images_with_one_repetition_are_in_no_half():
    signal = RNG.standard_normal((40, 30))
    recorded = signal + RNG.standard_normal((6, 40, 30))
    whole = usable_neurons(recorded).rsa_ceiling
    recorded[1:, :10] = np.nan
    assert usable_neurons(recorded).rsa_ceiling == pytest.approx(whole, abs=0.06)


def test_what_is_alike_to_all_units_is_in_no_pair_and_too_little_has_no_similarity():
    layer, neurons = RNG.standard_normal((2, 10, 8))
    layer[3] = 0.7
    assert similarities_of([dissimilarities(layer)], neurons, None)[0].pairs == 36
    for few, seen in ((layer, neurons[:, :2]), (np.ones((10, 8)), neurons)):
        assert similarities_of([dissimilarities(few)], seen, None)[0] is None


def test_layers_compared_together_are_compared_as_each_alone():
    layers = [dissimilarities(each) for each in RNG.standard_normal((3, 10, 8))]
    layers[1][3], layers[1][:, 3], layers[2] = np.nan, np.nan, np.ones((10, 10))
    neurons = RNG.standard_normal((10, 6))
    together = similarities_of(layers, neurons, 0.5, seed=3)
    assert together == [similarities_of([each], neurons, 0.5, seed=3)[0] for each in layers]
    assert [each and each.pairs for each in together] == [45, 36, None]

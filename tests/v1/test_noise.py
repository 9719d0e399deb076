"""The noise's statistics, its switches, and that no draw depends on where an image stands."""

import math

import pytest
import torch

import vonenet
from vonenet.errors import InputError
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import Noise, fixed_noise, no_noise, noise_generator

SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}


@pytest.fixture
def block():
    return VOneBlock(**SMALL).eval()


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32) * 2 - 1


@pytest.mark.parametrize("mean", [0.0, 0.5, 2.0, 30.0])
def test_neuronal_variance_grows_with_the_mean(mean):
    """In spikes: variance = mean (Fano factor 1), the floor of 1e-4 aside."""
    n = 400_000
    noisy = Noise("neuronal", scale=0.35, level=0.07)(torch.full((n,), mean))
    spikes = 0.35 * noisy + 0.07
    expected = 0.35 * mean + 0.07
    standard_error = math.sqrt(2 / n)
    assert float(spikes.mean()) == pytest.approx(expected, abs=5 * math.sqrt(expected / n))
    assert float(spikes.var()) == pytest.approx(expected + 1e-4, rel=5 * standard_error)


def test_gaussian_standard_deviation_is_the_scale_everywhere():
    noise = Noise("gaussian", scale=0.2, level=3.0)
    for mean in (0.0, 10.0):
        noisy = noise(torch.full((200_000,), mean))
        assert float(noisy.std()) == pytest.approx(0.2, rel=0.01)
        assert float(noisy.mean()) == pytest.approx(mean, abs=0.003)


def test_noise_is_on_in_training_and_in_evaluation(block, images):
    for module in (block.train(), block.eval()):
        assert not torch.equal(module(images), module(images))


@pytest.mark.parametrize("level", [0.07, 0.0])
def test_gradient_of_the_noise_is_right_on_both_sides_of_silence(level):
    noise = Noise("neuronal", scale=0.35, level=level)
    mean = torch.tensor([-3.0, -0.21, 0.01, 1.0, 20.0], dtype=torch.float64, requires_grad=True)
    draw = torch.tensor([1.0, -2.0, 0.5, -0.3, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: noise(x, draw), mean)
    broadcast = mean.detach().expand(3, 5).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: noise(x, draw[None]), broadcast)


def test_elements_and_images_draw_independently(block, images):
    draws = block.noise(torch.zeros(2000, 4, 3, 3)).flatten(1)
    correlation = torch.corrcoef(draws.T) - torch.eye(36)
    assert correlation.abs().max() < 5 / math.sqrt(2000)


def test_responses_are_rectified_after_the_noise(block, images):
    assert block(images).min() == 0
    assert block.noise(block.mean_response(images)).min() < 0


@pytest.mark.parametrize("mode", ["neuronal", "gaussian"])
def test_no_noise_gives_the_mean_response_and_then_ends(block, images, mode):
    block.set_noise_mode(mode)
    with no_noise(block):
        assert torch.equal(block(images), block.mean_response(images))
    assert block.noise.mode == mode
    assert not torch.equal(block(images), block.mean_response(images))


def test_switches_end_after_an_error_too(block):
    draw = block.noise.draw
    for switch in (no_noise(block), fixed_noise(block, 1), noise_generator(block, None)):
        with pytest.raises(RuntimeError), switch:
            raise RuntimeError
    assert block.noise.mode == "neuronal"
    assert block.noise.draw is draw


@pytest.mark.parametrize("seed", [0, 7])
def test_fixed_noise_depends_on_neither_place_nor_batch(block, images, seed):
    """field-notes 16-19: any batch size, odd sizes, seed 0, the same draw for every image."""
    same = images[:1].expand(4, -1, -1, -1)
    with fixed_noise(block, seed):
        together, alone, again = block(same), block(same[:1]), block(images[[3]])
        whole = block(images)
        odd = block(torch.rand(3, 3, 31, 33))
    assert odd.shape == (3, 8, 16, 17)
    for image in together:
        torch.testing.assert_close(image, alone[0])
    torch.testing.assert_close(whole[3], again[0])
    with fixed_noise(block, seed):
        assert torch.equal(block(same[:1]), alone)
    with fixed_noise(block, seed + 1):
        assert not torch.equal(block(same[:1]), alone)


def test_fixed_noise_and_generators_leave_the_global_state_alone(block, images):
    before = torch.get_rng_state()
    with fixed_noise(block, 3):
        block(images)
    with noise_generator(block, torch.Generator().manual_seed(3)):
        block(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_can_be_handed_in(block, images):
    def responses(seed):
        with noise_generator(block, torch.Generator().manual_seed(seed)):
            return torch.cat([block(images), block(images)])

    first, again, other = responses(0), responses(0), responses(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:5], first[5:])


def test_k_draws_cost_one_pass_and_scatter_around_the_mean(block, images):
    mean = block.mean_response(images[:1])
    draws = block.noise(mean.expand(4000, -1, -1, -1))
    standard_error = block.noise.standard_deviation(mean[0]) / math.sqrt(4000)
    assert ((draws.mean(dim=0) - mean[0]) / standard_error).abs().max() < 5.5


def test_a_given_draw_is_used(block, images):
    mean = block.mean_response(images)
    given = block.respond(mean, torch.ones(1))
    expected = torch.relu(mean + torch.sqrt(0.35 * mean + 0.07 + 1e-4) / 0.35)
    torch.testing.assert_close(given, expected)


def test_switching_the_mode_is_remembered(block, images):
    block.set_noise_mode(None)
    assert torch.equal(block(images), block.mean_response(images))
    block.set_noise_mode("gaussian", noise_scale=0.1)
    assert (block.config.noise, block.config.noise_scale) == ("gaussian", 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "poisson"}, "noise must be 'neuronal', 'gaussian' or None, got 'poisson'"),
        ({"noise_scale": 0.0}, "noise_scale must be positive .* got 0.0"),
        ({"noise_level": -1.0}, "noise_level must be 0 or more, got -1.0"),
    ],
)
def test_impossible_noise_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        VOneBlock(**SMALL, **settings)
    with pytest.raises(InputError, match=message):
        VOneBlock(**SMALL).set_noise_mode(
            settings.get("noise", "neuronal"),
            settings.get("noise_scale"),
            settings.get("noise_level"),
        )


def test_the_switches_are_public():
    assert vonenet.no_noise is no_noise
    assert vonenet.fixed_noise is fixed_noise

"""The noise's statistics, its switches, and that no draw depends on where an image stands."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from vonenet.errors import InputError
from vonenet.v1 import noise as noise_module
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import BLOCK, Noise, fill_normal, fixed_noise, no_noise, noise_generator

SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}
N = 5 * BLOCK + 1001
PROMISED = [0.626973978914906, 0.32160128086512196, 0.3471666465619016]
PROMISED += [0.049817213211510954, 1.085519414472406, -0.37029368907265975]


@pytest.fixture
def block():
    return VOneBlock(**SMALL).eval()


@pytest.fixture
def images():
    return torch.rand(5, 3, 32, 32) * 2 - 1


def is_noisy(block):
    images = torch.ones(1, 3, 32, 32)
    return not torch.equal(block(images), block(images))


@pytest.mark.parametrize("mean", [0.0, 0.5, 2.0, 30.0, 100.0, 300.0])
@pytest.mark.parametrize("mode", ["neuronal", "gaussian"])
def test_noisy_responses_are_a_rectified_normal_variable(mode, mean):
    """Neuronal noise in spikes: variance = mean (Fano factor 1), the floor of 1e-4 aside."""
    n = 400_000
    noise = Noise(mode, scale=0.35, level=0.07)
    sd = 0.35 if mode == "gaussian" else ((0.35 * mean + 0.07) + 1e-4) ** 0.5 / 0.35
    assert float(torch.as_tensor(noise.standard_deviation(torch.tensor(mean)))) == pytest.approx(sd)
    noisy = noise(torch.full((n,), mean)).double()
    normal = scipy.stats.norm(mean, sd)
    assert float((noisy == 0).double().mean()) == pytest.approx(normal.cdf(0), abs=5 / n**0.5)
    above = mean * normal.sf(0) + sd**2 * normal.pdf(0)  # the mean of max(x, 0)
    assert float(noisy.mean()) == pytest.approx(above, abs=5 * sd / n**0.5)
    if mean >= 100:  # far from rectification
        assert float(noisy.var()) == pytest.approx(sd**2, rel=5 * math.sqrt(2 / n))


def test_noise_is_on_in_training_and_in_evaluation(block, images):
    for module in (block.train(), block.eval()):
        assert not torch.equal(module(images), module(images))


@pytest.mark.parametrize("level", [0.07, 0.0])
@pytest.mark.parametrize("mode", ["neuronal", "gaussian", None])
def test_the_gradient_of_the_noise_is_right_on_both_sides_of_silence(mode, level):
    noise = Noise(mode, scale=0.35, level=level)
    mean = torch.tensor([-3.0, -0.21, 0.02, 1.0, 20.0, 4.0], dtype=torch.float64).view(2, 3)
    draw = torch.tensor([9.0, 9.0, 0.5, -0.3, 2.0, -9.0], dtype=torch.float64).view(2, 3)
    mean.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: noise(x, draw), mean)
    assert torch.autograd.gradgradcheck(lambda x: noise(x, draw), mean)
    assert torch.autograd.gradcheck(lambda x: noise(x, draw[:1]), mean)
    assert torch.autograd.gradcheck(  # the definition, which other devices use
        lambda x: torch.relu(x + draw * noise.standard_deviation(x)), mean
    )


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_fast_noise_is_the_definition(layout, monkeypatch):
    monkeypatch.setattr(noise_module, "CHUNK", 1000)
    noise = Noise("neuronal", scale=0.35, level=0.07)
    mean = (torch.rand(3, 5, 16, 17) * 4).to(memory_format=layout).requires_grad_()
    for draw in (torch.randn(3, 5, 16, 17), torch.randn(1, 5, 16, 17)):
        ours = noise(mean, draw)
        definition = torch.relu(mean + draw * noise.standard_deviation(mean.detach().clone()))
        torch.testing.assert_close(ours, definition.detach())
        assert ours.stride() == mean.stride()


@pytest.mark.parametrize("mode", ["neuronal", "gaussian"])
def test_draws_depend_on_the_seed_alone(block, images, mode):
    block.set_noise_mode(mode)

    def responses(seed):
        torch.manual_seed(seed)
        return block(images)

    assert torch.equal(responses(0), responses(0))
    assert not torch.equal(responses(0), responses(1))


def test_elements_and_images_draw_independently(block):
    """Also where one mean response stands for many images: k draws cost one pass."""
    draws = block.noise(torch.full((1, 4, 3, 3), 100.0).expand(2000, -1, -1, -1)).flatten(1)
    correlation = torch.corrcoef(draws.T) - torch.eye(36)
    assert correlation.abs().max() < 5 / math.sqrt(2000)


@pytest.mark.parametrize("mode", ["neuronal", "gaussian"])
def test_no_noise_gives_the_mean_response_and_then_ends(block, images, mode):
    block.set_noise_mode(mode, noise_scale=0.1)
    assert (block.config.noise, block.config.noise_scale) == (mode, 0.1)
    with no_noise(block):
        assert torch.equal(block(images), block.mean_response(images))
    assert block.noise.mode == mode
    assert not torch.equal(block(images), block.mean_response(images))


def test_switches_end_after_an_error_too(block):
    generator = torch.Generator()
    for switch in (no_noise(block), fixed_noise(block, 1), noise_generator(block, generator)):
        with pytest.raises(RuntimeError), switch:
            raise RuntimeError
    assert is_noisy(block)


@pytest.mark.parametrize("seed", [0, 7])
def test_fixed_noise_depends_on_neither_place_nor_batch(block, images, seed):
    """Any batch size, odd sizes, seed 0, and the same draw for every image."""
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "poisson"}, "noise must be 'neuronal', 'gaussian' or None, got 'poisson'"),
        (
            {"noise_scale": 0.0},
            "noise_scale .noise=None is silence. must be a number from 1e-06 to 1e.06, got 0.0",
        ),
        ({"noise_level": -1.0}, "noise_level must be a number from 0 to .*, got -1.0"),
    ],
)
def test_impossible_noise_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        VOneBlock(**SMALL, **settings)
    renamed = {"noise_mode": settings.pop("noise", "neuronal")}
    with pytest.raises(InputError, match=message):
        VOneBlock(**SMALL).set_noise_mode(**renamed, **settings)


def drawn(seed, n=N, dtype=torch.float32):
    return fill_normal(torch.empty(n, dtype=dtype), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def numbers():
    return drawn(0).double()


def test_moments_tails_and_distribution_are_those_of_the_standard_normal(numbers):
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        standard_error = math.sqrt(variance / N)
        assert float((numbers**power).mean()) == pytest.approx(expected, abs=5 * standard_error)
    for beyond in (2.0, 3.0, 4.0, 4.5):
        expected = N * scipy.stats.norm.sf(beyond)
        for tail in (numbers > beyond, numbers < -beyond):
            assert int(tail.sum()) == pytest.approx(expected, abs=5 * math.sqrt(expected))
    assert scipy.stats.kstest(numbers[: 2**20].numpy(), "norm").pvalue > 1e-4


def test_blocks_neighbours_and_seeds_are_independent(numbers):
    blocks = numbers[: 4 * BLOCK].view(8, BLOCK // 2)  # halves share their radii
    for values in (blocks, blocks.abs()):  # the absolute values show what signs would hide
        correlation = torch.corrcoef(values) - torch.eye(8, dtype=torch.float64)
        assert correlation.abs().max() < 5 / math.sqrt(BLOCK // 2)
    centred = numbers.abs() - numbers.abs().mean()
    for lag in (1, 2, 4, 8, 16, 624, BLOCK // 2):
        product = (centred[:-lag] * centred[lag:]).mean() / centred.square().mean()
        assert abs(float(product)) < 5 / math.sqrt(N)
    seeds = torch.stack([numbers, drawn(1).double()])
    assert abs(float(torch.corrcoef(seeds)[0, 1])) < 5 / math.sqrt(N)


def test_a_seed_gives_the_same_numbers_on_any_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = drawn(3)
        torch.set_num_threads(3)
        assert torch.equal(drawn(3), alone)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(drawn(4), alone)


@pytest.mark.parametrize("n", [0, 1, 15, 17, BLOCK, BLOCK + 1])
def test_any_length_is_filled_in_inference_mode_too(n):
    with torch.inference_mode():
        out = fill_normal(torch.full((n,), torch.nan))
    assert out.isfinite().all()
    assert len(out.unique()) >= 0.9 * n


def test_a_seed_keeps_its_promise():
    """The first numbers of seed 0; other code, or another block, would give others."""
    assert BLOCK == 2**19
    expected = torch.tensor(PROMISED, dtype=torch.float64)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        ours = drawn(0, 6, dtype)
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), expected, rtol=tolerance, atol=tolerance)


def test_the_numbers_are_numpys_bits_by_box_and_muller():
    """Written out in numpy, for another number of them."""
    seed = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(7)))
    raw = np.random.SFC64(seed).random_raw(1000).view(np.int32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(np.minimum((np.abs(raw[:1000]) + 0.5) / 2**31, 1)))
    angle = raw[1000:] * np.pi / 2**31
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    ours = drawn(7, 2000, torch.float64)
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-5)

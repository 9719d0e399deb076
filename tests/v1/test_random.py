"""The normal numbers: moments, tails, shape, independence, and what a seed promises."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from vonenet.v1 import noise
from vonenet.v1.noise import BLOCK, fill_normal

N = 5 * BLOCK + 1001
PROMISED = [0.626973978914906, 0.32160128086512196, 0.3471666465619016]
PROMISED += [0.049817213211510954, 1.085519414472406, -0.37029368907265975]


def drawn(seed, n=N, dtype=torch.float32):
    return fill_normal(torch.empty(n, dtype=dtype), torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def numbers():
    return drawn(0).double()


def test_the_moments_are_those_of_the_standard_normal(numbers):
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        standard_error = math.sqrt(variance / N)
        assert float((numbers**power).mean()) == pytest.approx(expected, abs=5 * standard_error)


@pytest.mark.parametrize("beyond", [2.0, 3.0, 4.0, 4.5])
def test_the_tails_are_those_of_the_standard_normal(numbers, beyond):
    expected = N * scipy.stats.norm.sf(beyond)
    for tail in (numbers > beyond, numbers < -beyond):
        assert int(tail.sum()) == pytest.approx(expected, abs=5 * math.sqrt(expected))


def test_the_distribution_is_the_standard_normal(numbers):
    assert scipy.stats.kstest(numbers[: 2**20].numpy(), "norm").pvalue > 1e-4


def test_blocks_and_neighbours_are_independent(numbers):
    blocks = numbers[: 4 * BLOCK].view(8, BLOCK // 2)  # halves share their radii
    for values in (blocks, blocks.abs()):  # the absolute values show what signs would hide
        correlation = torch.corrcoef(values) - torch.eye(8, dtype=torch.float64)
        assert correlation.abs().max() < 5 / math.sqrt(BLOCK // 2)
    centred = numbers.abs() - numbers.abs().mean()
    for lag in (1, 2, 4, 8, 16, 624, BLOCK // 2):
        product = (centred[:-lag] * centred[lag:]).mean() / centred.square().mean()
        assert abs(float(product)) < 5 / math.sqrt(N)


def test_neighbouring_seeds_give_unrelated_numbers():
    first, second = drawn(1), drawn(2)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / math.sqrt(N)


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


def test_the_global_seed_sets_the_numbers_and_each_draw_is_new():
    torch.manual_seed(5)
    first, second = fill_normal(torch.empty(100)), fill_normal(torch.empty(100))
    torch.manual_seed(5)
    assert torch.equal(fill_normal(torch.empty(100)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("n", [0, 1, 15, 17, BLOCK, BLOCK + 1])
def test_any_length_is_filled(n):
    out = fill_normal(torch.full((n,), torch.nan))
    assert out.isfinite().all()
    assert len(out.unique()) >= 0.9 * n


def test_inference_mode_and_its_tensors_are_fine():
    with torch.inference_mode():
        assert float(fill_normal(torch.zeros(N)).std()) == pytest.approx(1, abs=0.01)


def test_a_seed_keeps_its_promise():
    """The first numbers of seed 0; other code, or another block, would give others."""
    assert noise.BLOCK == 2**19
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

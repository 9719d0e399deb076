"""Trainable Gabor filters: one formula with the fixed ones, a penalty that keeps the population."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

import vonenet
from vonenet.robustness.sampling import averaged_gradient
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.noise import no_noise
from vonenet.v1.parameters import FILTER_PRIORS, draw_parameters
from vonenet.v1.push_pull import PushPullConfig
from vonenet.v1.trainable import NAMES, PERIODS, distribution_penalty, wasserstein

pytestmark = pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
SMALL = {"simple_channels": 4, "complex_channels": 3, "image_size": 32}


def model(**settings):
    settings = {**SMALL, "num_classes": 5, "trainable": True, **settings}
    return vonenet.create_model("voneresnet_small", **settings)


@pytest.mark.parametrize("settings", [{}, {"dc_balanced": True}, {"filters": "legacy"}])
def test_it_starts_as_the_fixed_block(settings):
    fixed, trained = VOneBlock(**SMALL, **settings), VOneBlock(**SMALL, **settings, trainable=True)
    for ours, theirs in zip(trained.filter_weights(), fixed.filter_weights(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    images = torch.rand(2, 3, 32, 32)
    with no_noise(fixed), no_noise(trained):
        torch.testing.assert_close(trained(images), fixed(images), rtol=1e-3, atol=1e-4)
    for name, value in vars(trained.gabor_parameters).items():
        np.testing.assert_allclose(value, getattr(fixed.gabor_parameters, name), rtol=1e-5)


def test_its_state_is_parameters_in_place_of_weights():
    block = VOneBlock(**SMALL, trainable=True)
    own = [f"gabor_bank.{name}" for name in NAMES]
    assert [name for name, _ in block.named_parameters()] == own
    assert set(block.state_dict()) == {
        *own,
        "gabor_bank.color_channel",
        "gabor_bank.color_channel_q1",
    }
    with pytest.raises(vonenet.InputError, match="their block alone"):
        block.simple_conv_q0(torch.rand(1, 3, 32, 32))
    fixed = VOneBlock(**SMALL)
    assert not list(fixed.parameters())


def test_gradients_of_the_parameters_are_right():
    settings = {**SMALL, "simple_channels": 2, "complex_channels": 1, "kernel_size": 7}
    block = VOneBlock(**settings, trainable=True, noise=None).double()
    images = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    start = dict(block.named_parameters())

    def responses(*values):
        parameters = dict(zip(start, values, strict=True))
        return torch.func.functional_call(block, parameters, images)

    values = [each.detach().requires_grad_() for each in start.values()]
    assert torch.autograd.gradcheck(responses, values)
    for value in (-1.0, 0.0, 1.0):
        block.zero_grad()
        block(torch.full_like(images, value)).sum().backward()
        assert all(each.grad.isfinite().all() for each in block.parameters())


@pytest.mark.parametrize("period", [None, 2.0])
def test_the_distance_is_that_of_the_best_matching(period):
    rng = np.random.default_rng(0)
    values, quantiles = rng.normal(size=23) * 3, np.sort(rng.uniform(size=23) * 2)
    apart = np.abs(values[:, None] - quantiles)
    if period is None:
        expected = wasserstein_distance(values, quantiles)
    else:
        apart %= period
        apart = np.minimum(apart, period - apart)
        rows, columns = linear_sum_assignment(apart)
        expected = apart[rows, columns].mean()
    found = wasserstein(torch.tensor(values), torch.tensor(quantiles), period)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("filters", FILTER_PRIORS)
def test_a_sample_of_the_prior_is_near_and_another_is_far(filters):
    settings = {"simple_channels": 200, "complex_channels": 200, "image_size": 64}
    block = VOneBlock(**settings, filters=filters, trainable=True)
    near = distribution_penalty(block)
    assert near < 0.6
    with torch.no_grad():  # the same distributions, but of cells that do not go together
        block.gabor_bank.log2_frequency_cpd.copy_(block.gabor_bank.log2_frequency_cpd.sort().values)
    if "uniform" not in filters:
        assert distribution_penalty(block) > near + 0.1
    for name in NAMES:
        other = VOneBlock(block.config, seed=1)
        with torch.no_grad():
            getattr(other.gabor_bank, name).mul_(0.2)
        assert distribution_penalty(other) > near + 0.5


def test_the_penalty_is_the_sum_of_its_parts():
    """Of simple cells alone, against a large sample of the prior and scipy's distance."""
    settings = {"simple_channels": 300, "complex_channels": 0, "image_size": 64}
    block = VOneBlock(**settings, filters="by_cell_type", seed=5, trainable=True)
    c, n = block.settings, 200_000
    prior = draw_parameters(n, filters=c.filters, sf_max=c.sf_max, seed=9, n_simple=n)
    found, expected = block.gabor_parameters, 0.0
    logs = []
    for name in ("frequency_cpd", "nx_cycles", "ny_cycles"):
        ours, theirs = np.log2(getattr(found, name)), np.log2(getattr(prior, name))
        expected += wasserstein_distance(ours, theirs) / theirs.std()
        logs.append((ours, theirs))
    for name, period in (("orientation_deg", 180), ("phase_deg", 360)):
        ours = np.sort(getattr(found, name) % period)
        theirs = np.sort(getattr(prior, name) % period)[n // 600 :: n // 300][:300]
        apart = np.abs(ours[:, None] - theirs)
        apart = np.minimum(apart, period - apart)
        rows, columns = linear_sum_assignment(apart)
        expected += apart[rows, columns].mean() / (period / 12**0.5)
    ours, theirs = (np.corrcoef(each) for each in zip(*logs, strict=True))
    expected += np.abs(ours - theirs)[np.triu_indices(3, 1)].mean()
    np.testing.assert_allclose(distribution_penalty(block).detach(), expected, rtol=0.05)


def test_its_gradient_pulls_a_shifted_distribution_back():
    block = VOneBlock(simple_channels=40, complex_channels=40, image_size=64, trainable=True)
    start, shifts = copy.deepcopy(block.state_dict()), dict.fromkeys(NAMES, 1.5)
    with torch.no_grad():
        for name in set(NAMES) - set(PERIODS):
            getattr(block.gabor_bank, name).add_(shifts[name])
        for name, period in PERIODS.items():
            getattr(block.gabor_bank, name).remainder_(period).mul_(0.3)
    before = float(distribution_penalty(block).detach())
    optimizer = torch.optim.Adam(block.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        distribution_penalty(block).backward()
        optimizer.step()
    assert distribution_penalty(block) < 0.3 < 1 < before
    for name in set(NAMES) - set(PERIODS):
        back = getattr(block.gabor_bank, name) - start[f"gabor_bank.{name}"]
        assert abs(back.mean()) < 0.15


@pytest.mark.parametrize("in_chans", [3, 1])
def test_a_trained_file_gives_the_same_model(tmp_path, in_chans):
    first = model().eval()
    with torch.no_grad():
        for each in first.vone_block.parameters():
            each.add_(0.1)
    vonenet.save_checkpoint(first, tmp_path / "a.safetensors")
    again = vonenet.load_checkpoint(tmp_path / "a.safetensors", in_chans=in_chans).eval()
    grey = torch.rand(2, 1, 32, 32)
    with no_noise(first), no_noise(again):
        found = again(grey.expand(-1, in_chans, -1, -1))
        torch.testing.assert_close(found, first(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    ours, theirs = again.vone_block.gabor_parameters, first.vone_block.gabor_parameters
    assert ours.frequency_cpd.tolist() == theirs.frequency_cpd.tolist()
    if in_chans == 3:
        assert again.config == first.config


def test_a_model_is_attacked_copied_and_traced():
    trained = copy.deepcopy(model(noise=None)).eval()
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    gradient = averaged_gradient(trained, images, labels, samples=2)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    torch.testing.assert_close(torch.fx.symbolic_trace(trained)(images), trained(images))


def test_what_has_no_prior_or_would_go_stale_is_refused():
    with pytest.raises(vonenet.InputError, match="no trainable Gabor filters"):
        distribution_penalty(VOneBlock(**SMALL))
    given = VOneBlock(gabor_parameters=draw_parameters(7), trainable=True, **SMALL)
    with pytest.raises(vonenet.InputError, match="no measured distribution"):
        distribution_penalty(given)
    with pytest.raises(vonenet.InputError, match="trainable=True contradicts push_pull"):
        VOneBlockConfig(trainable=True, push_pull=PushPullConfig())

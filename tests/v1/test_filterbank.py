"""Every way to filter against dense float64 convolutions; what is computed with is the weights."""

import copy
import pickle
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from vonenet.errors import InputError
from vonenet.v1.block import VOneBlock
from vonenet.v1.filterbank import SMALLEST_WEIGHT, WAYS, without_tails
from vonenet.v1.fourier import Bank, best_tiling

SMALL = {"simple_channels": 6, "complex_channels": 5, "image_size": 32}


def published_mean(block, images):
    """The published formula in float64, on the block's own state dict."""
    state = {key: value.detach().double() for key, value in block.state_dict().items()}
    c = block.config
    q0, q1 = (
        F.conv2d(images.double(), weight, stride=c.stride, padding=c.kernel_size // 2)
        for weight in state.values()
    )
    n = c.simple_channels
    complex_ = torch.sqrt((q0[:, n:] ** 2 + q1[:, n:] ** 2) / 2)
    return c.k_exc * torch.cat([q0[:, :n].relu(), complex_], dim=1)


def relative_error(ours, expected):
    return float((ours.double() - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("way", [None, "fourier", *WAYS])
@pytest.mark.parametrize("filters", ["biological", "legacy"])
@pytest.mark.parametrize(
    ("in_chans", "stride", "size"),
    [(3, 2, (32, 32)), (1, 2, (33, 31)), (3, 3, (17, 64)), (3, 4, (70, 5)), (3, 1, (32, 32))],
)
def test_every_way_gives_the_published_numbers_and_gradients(way, filters, in_chans, stride, size):
    block = VOneBlock(filters=filters, in_chans=in_chans, stride=stride, noise=None, **SMALL)
    block.way = way
    images = (torch.rand(2, in_chans, *size) * 2 - 1).requires_grad_()
    expected = published_mean(block, images)
    ours = block.mean_response(images)
    assert relative_error(ours, expected) < 1e-5
    direction = torch.randn_like(ours)
    # Where a phase or a magnitude is 0 in one precision and not in the other, the gradient jumps.
    direction[expected < 1e-6] = 0
    gradient = torch.autograd.grad(ours, images, direction)[0]
    oracle = torch.autograd.grad(expected, images, direction.double())[0]
    assert relative_error(gradient, oracle) < 1e-5


def test_a_phase_alone_is_its_convolution():
    block = VOneBlock(**SMALL)
    images = torch.rand(1, 3, 30, 30) * 2 - 1
    for bank, first in ((block.simple_conv_q0, 0), (block.simple_conv_q1, 6)):
        dense = F.conv2d(images, bank.weight[first:], stride=2, padding=7)
        torch.testing.assert_close(bank(images), dense, rtol=1e-4, atol=1e-5)


def test_few_multiplications_are_left():
    published = 2 * 512 * 3 * 25 * 25 * 56 * 56
    assert published == pytest.approx(6.02e9, rel=1e-3)
    tiling = best_tiling((224, 224), 25, 4)
    pairs = (512 + 256) / 2
    assert 4 * pairs * tiling.multiplications(16) < published / 15


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("filters", ["biological", "uniform", "legacy"])
@pytest.mark.parametrize("size", [32, 64, 96, 224])
def test_no_subnormal_number_is_computed_with(filters, size):
    """Intel processors take a hundred times as long for each; the tails of Gaussians are such."""
    block = VOneBlock(filters=filters, image_size=size)
    weights = block.simple_conv_q0.weight, block.simple_conv_q1.weight
    c = block.config
    tile = best_tiling(c.image_size, c.kernel_size, c.stride).size
    bank = Bank(weights, c.stride, tile, torch.float32)
    smallest = 1e-8 * SMALLEST_WEIGHT  # of products with pixels
    for numbers in (
        *map(without_tails, weights),
        *(torch.view_as_real(group.spectra) for group in bank.groups),
        torch.view_as_real(bank.inverse),
    ):
        sizes = numbers[numbers != 0].abs()
        assert sizes.min() > SMALLEST_WEIGHT
        assert smallest > torch.finfo(torch.float32).tiny


def test_the_tails_are_there_and_do_not_matter():
    weight = VOneBlock().simple_conv_q0.weight
    tiny = torch.finfo(torch.float32).tiny
    assert ((weight != 0) & (weight.abs() < tiny)).any()
    assert (without_tails(weight) - weight).abs().max() < 1e-15 * weight.abs().amax((1, 2, 3)).min()


CHANGES = {
    "load": lambda b, s: b.load_state_dict(s),
    "assign": lambda b, s: b.load_state_dict(s, assign=True),
    "in place": lambda b, s: b.simple_conv_q0.weight.neg_(),
    "data": lambda b, s: b.simple_conv_q1.weight.data.mul_(2),
    "set data": lambda b, s: setattr(
        b.simple_conv_q0.weight, "data", s["simple_conv_q0.weight"].clone()
    ),
    "numpy": lambda b, s: b.simple_conv_q0.weight.detach().numpy().__imul__(0.5),
    "replace": lambda b, s: setattr(b.simple_conv_q1, "weight", s["simple_conv_q1.weight"] * 3),
    "half and back": lambda b, s: b.half().float(),
    "double and back": lambda b, s: b.double().float(),
    "move": lambda b, s: b.to("cpu"),
    "channels last": lambda b, s: b.to(memory_format=torch.channels_last),
    "share": lambda b, s: b.share_memory(),
    "swap": lambda b, s: torch.utils.swap_tensors(
        b.simple_conv_q0.weight, torch.randn(b.simple_conv_q0.weight.shape)
    ),
    "deepcopy": lambda b, s: copy.deepcopy(b),
    "pickle": lambda b, s: pickle.loads(pickle.dumps(b)),
    "evaluate": lambda b, s: b.eval(),
}


@pytest.mark.parametrize("seed", range(12))
def test_what_is_computed_with_is_the_state_dict(seed):
    """However the weights are changed, in whatever order, before or after the first use."""
    order = random.Random(seed)
    block, other = VOneBlock(**SMALL, noise=None), VOneBlock(**SMALL, seed=1)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    for name in order.choices(list(CHANGES), k=12):
        state = {key: value.clone() for key, value in other.state_dict().items()}
        changed = CHANGES[name](block, state)
        block = changed if isinstance(changed, VOneBlock) else block
        assert relative_error(block(images), published_mean(block, images)) < 1e-5, name


def test_a_parametrized_weight_is_used():
    class Doubled(nn.Module):
        def forward(self, weight):
            return 2 * weight

    block = VOneBlock(**SMALL, noise=None)
    images = torch.rand(1, 3, 32, 32)
    plain = block.simple_conv_q0(images)
    parametrize.register_parametrization(block.simple_conv_q0, "weight", Doubled())
    torch.testing.assert_close(block.simple_conv_q0(images), 2 * plain)


def test_an_unknown_way_is_named_and_weights_that_never_came_are_not_taken_for_silence():
    block = VOneBlock(**SMALL, filters="given", noise=None)
    assert block(torch.rand(1, 3, 32, 32)).isnan().all()
    block.way = "magic"
    with pytest.raises(InputError, match="way must be None, fourier, convolution or .* 'magic'"):
        block(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("make", ["requires_grad_", "parameter"])
def test_weights_that_are_trained_get_their_gradient(make):
    block = VOneBlock(**SMALL, noise=None)
    if make == "parameter":
        weight = nn.Parameter(block.simple_conv_q0.weight)
        del block.simple_conv_q0.weight
        block.simple_conv_q0.weight = weight
    else:
        weight = block.simple_conv_q0.weight.requires_grad_()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    block(images).sum().backward()
    dense = published_mean(VOneBlock(**SMALL), images)
    assert weight.grad.abs().sum() > 0
    assert weight.grad.shape == weight.shape
    torch.testing.assert_close(block(images).detach().double(), dense, rtol=1e-4, atol=1e-4)


def test_a_block_built_or_first_used_in_inference_mode_still_gives_gradients():
    with torch.inference_mode():
        block = VOneBlock(**SMALL)
        block(torch.rand(1, 3, 32, 32))
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    block(images).sum().backward()
    assert images.grad.abs().sum() > 0

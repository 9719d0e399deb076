"""Every way to correlate against dense float64 convolutions: values, gradients, any shape."""

import pytest
import torch
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.block import VOneBlock
from vonenet.v1.strategies import (
    STRATEGIES,
    _by_library,
    _by_phases,
    default_strategy,
    image_gradient,
)

SIZES = [(32, 32), (33, 31), (17, 64), (70, 5)]


def made(stride, filters="biological"):
    block = VOneBlock(
        simple_channels=6, complex_channels=5, image_size=32, stride=stride, filters=filters
    )
    bank = block.filter_bank
    dense = torch.cat([block.simple_conv_q0.weight, block.simple_conv_q1.weight[6:]]).double()
    return bank, dense


def relative_error(ours, expected):
    return float((ours.double() - expected).detach().abs().max() / expected.detach().abs().max())


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("filters", ["biological", "legacy"])
def test_values_and_gradients_are_those_of_dense_convolutions(name, size, stride, filters):
    bank, dense = made(stride, filters)
    bank.strategy = name
    images = torch.rand(2, 3, *size) * 2 - 1
    ours_in, dense_in = images.requires_grad_(), images.detach().double().requires_grad_()
    ours = torch.cat(bank(ours_in), dim=1)
    expected = F.conv2d(dense_in, dense, stride=stride, padding=dense.shape[-1] // 2)
    assert ours.shape == expected.shape
    assert relative_error(ours, expected) < 1e-5
    direction = torch.randn_like(ours)
    gradient = torch.autograd.grad(ours, ours_in, direction)[0]
    oracle = torch.autograd.grad(expected, dense_in, direction.double())[0]
    assert relative_error(gradient, oracle) < 1e-5


@pytest.mark.parametrize("way", [_by_phases, _by_library, image_gradient])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 9, 25])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_the_image_gradient_is_autograds(way, kernel_size, stride, size):
    kernels = torch.randn(7, kernel_size, kernel_size, dtype=torch.float64)
    images = torch.randn(2, 1, *size, dtype=torch.float64, requires_grad=True)
    responses = F.conv2d(images, kernels[:, None], stride=stride, padding=kernel_size // 2)
    direction = torch.randn_like(responses)
    expected = torch.autograd.grad(responses, images, direction)[0]
    torch.testing.assert_close(way(kernels, stride)(direction, size), expected)


def test_an_unknown_strategy_is_named():
    bank, _ = made(4)
    bank.strategy = "magic"
    with pytest.raises(InputError, match="strategy must be one of auto, per_colour, .* 'magic'"):
        bank(torch.rand(1, 3, 32, 32))


def test_the_defaults_exist():
    for device in ("cpu", "cuda", "mps"):
        assert default_strategy(torch.device(device)) in STRATEGIES

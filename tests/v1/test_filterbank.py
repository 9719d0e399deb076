"""The linear stage against two dense float64 convolutions: values, gradients, any shape."""

import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from vonenet.v1.block import VOneBlock

SMALL = {"simple_channels": 6, "complex_channels": 5, "image_size": 32}


def dense_responses(block, images):
    """As published: both phases of every cell on every colour, in float64."""
    stride, padding = block.config.stride, block.config.kernel_size // 2
    q0, q1 = (
        F.conv2d(images.double(), conv.weight.double(), stride=stride, padding=padding)
        for conv in (block.simple_conv_q0, block.simple_conv_q1)
    )
    return q0, q1[:, block.config.simple_channels :]


def relative_error(ours, expected):
    return float((ours.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("filters", ["biological", "legacy"])
@pytest.mark.parametrize("in_chans", [3, 1])
@pytest.mark.parametrize("size", [(32, 32), (33, 31), (17, 64), (223, 5)])
def test_responses_are_those_of_the_dense_bank(filters, in_chans, size):
    block = VOneBlock(filters=filters, in_chans=in_chans, **SMALL)
    images = torch.rand(2, in_chans, *size) * 2 - 1
    for ours, expected in zip(
        block.linear_response(images), dense_responses(block, images), strict=True
    ):
        assert ours.shape == expected.shape
        assert relative_error(ours, expected) < 1e-5


@pytest.mark.parametrize("filters", ["biological", "legacy"])
def test_image_gradients_are_those_of_the_dense_bank(filters):
    block = VOneBlock(filters=filters, **SMALL)
    images = torch.rand(2, 3, 31, 36, requires_grad=True)
    ours, expected = block.linear_response(images), dense_responses(block, images)
    directions = [torch.randn_like(response) for response in ours]
    gradient = torch.autograd.grad(ours, images, directions)[0]
    oracle = torch.autograd.grad(expected, images, [d.double() for d in directions])[0]
    assert relative_error(gradient, oracle) < 1e-5


def test_a_quarter_of_the_published_multiplications():
    block = VOneBlock()
    images = torch.zeros(1, 3, 224, 224)
    with FlopCounterMode(display=False) as ours:
        block.linear_response(images)
    published_macs = 2 * 512 * 3 * 25 * 25 * 56 * 56
    assert published_macs == pytest.approx(6.02e9, rel=1e-3)  # field-notes 33
    assert ours.get_total_flops() / 2 == published_macs / 4


def test_dense_weights_from_elsewhere_work_as_well():
    block = VOneBlock(**SMALL)
    for conv in (block.simple_conv_q0, block.simple_conv_q1):
        conv.weight.normal_()
    images = torch.rand(1, 3, 30, 30)
    for ours, expected in zip(
        block.linear_response(images), dense_responses(block, images), strict=True
    ):
        assert relative_error(ours, expected) < 1e-5


def test_a_silent_filter_stays_silent():
    block = VOneBlock(**SMALL)
    block.simple_conv_q0.weight[3] = 0
    q0, _ = block.linear_response(torch.rand(1, 3, 32, 32))
    assert not q0[:, 3].any()
    assert q0[:, 2].any()


def change_in_place(block):
    block.simple_conv_q0.weight.neg_()


def load_state(block):
    block.load_state_dict({key: -value for key, value in block.state_dict().items()})


def replace_tensor(block):
    block.simple_conv_q0.weight = -block.simple_conv_q0.weight


@pytest.mark.parametrize("change", [change_in_place, load_state, replace_tensor])
def test_changed_weights_are_used_at_once(change):
    block = VOneBlock(**SMALL)
    images = torch.rand(1, 3, 32, 32)
    before, _ = block.linear_response(images)
    change(block)
    after, _ = block.linear_response(images)
    torch.testing.assert_close(after, -before)


def test_only_the_two_published_tensors_are_saved_and_none_is_trained():
    block = VOneBlock(**SMALL)
    assert list(block.state_dict()) == ["simple_conv_q0.weight", "simple_conv_q1.weight"]
    assert list(block.parameters()) == []


def test_copies_and_dtypes_follow():
    block = VOneBlock(**SMALL)
    images = torch.rand(1, 3, 32, 32)
    expected, _ = block.linear_response(images)
    assert torch.equal(copy.deepcopy(block).linear_response(images)[0], expected)
    double, _ = copy.deepcopy(block).double().linear_response(images.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected)


def test_a_block_built_or_first_used_in_inference_mode_still_gives_gradients():
    with torch.inference_mode():
        block = VOneBlock(**SMALL)
        block.linear_response(torch.rand(1, 3, 32, 32))
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    block.linear_response(images)[0].sum().backward()
    assert images.grad.abs().sum() > 0

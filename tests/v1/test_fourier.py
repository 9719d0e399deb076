"""Fourier transforms against dense float64 convolutions: values, gradients, vmap, silence."""

import pytest
import torch
from torch.func import grad, vmap
from torch.nn import functional as F

from vonenet.v1 import fourier
from vonenet.v1.fourier import Correlate, CorrelateTransposed, is_cheaper

correlate, correlate_transposed = Correlate.apply, CorrelateTransposed.apply

# cells, colours, kernel, stride, height, width
SHAPES = [
    (6, 3, 25, 4, 224, 224),
    (7, 3, 29, 2, 64, 64),
    (5, 3, 15, 2, 32, 31),
    (7, 1, 25, 4, 100, 77),
    (6, 4, 31, 4, 66, 165),
    (5, 3, 5, 4, 9, 33),
    (3, 3, 1, 4, 41, 40),
    (4, 3, 7, 1, 30, 31),
]


def kernels(cells, colours, size, *, dense=False, dtype=torch.float64):
    weight = torch.randn(cells, colours, size, size, dtype=dtype)
    if not dense:  # one colour for each kernel
        reads = F.one_hot(torch.randint(0, colours, (cells,)), colours)
        weight = weight * reads[:, :, None, None]
    return weight


def dense_responses(images, q0, q1, stride, first):
    weight = torch.cat([q0, q1[first:]])
    return F.conv2d(images, weight, stride=stride, padding=weight.shape[-1] // 2)


def relative_error(ours, expected):
    return float((ours.detach() - expected.detach()).abs().max() / expected.detach().abs().max())


@pytest.fixture(params=[1, fourier.PIXELS_AT_ONCE], ids=["image by image", "together"])
def _chunks(request, monkeypatch):
    monkeypatch.setattr(fourier, "PIXELS_AT_ONCE", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dense", [False, True])
def test_values_and_gradients_are_those_of_a_dense_convolution(shape, dense):
    cells, colours, size, stride, height, width = shape
    q0, q1 = (kernels(cells, colours, size, dense=dense) for _ in range(2))
    images = torch.randn(2, colours, height, width, dtype=torch.float64, requires_grad=True)
    for first in (0, 2, cells):
        ours = correlate(images, q0, q1, stride, first)
        expected = dense_responses(images, q0, q1, stride, first)
        assert ours.shape == expected.shape
        assert ours.is_contiguous(memory_format=torch.channels_last)
        assert relative_error(ours, expected) < 1e-13
        direction = torch.randn_like(expected)
        gradients = [torch.autograd.grad(r, images, direction)[0] for r in (ours, expected)]
        assert relative_error(*gradients) < 1e-13
        single = correlate(images.detach().float(), q0.float(), q1.float(), stride, first)
        assert relative_error(single.double(), expected) < 1e-6


def test_every_derivative_is_right():
    q0, q1 = kernels(2, 2, 3), kernels(2, 2, 3)
    images = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    responses = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    for operator, arguments in (
        (correlate, (images, q0, q1, 2, 1)),
        (correlate_transposed, (responses, q0, q1, 2, 1, 5, 4)),
    ):
        assert torch.autograd.gradcheck(operator, arguments)
        assert torch.autograd.gradgradcheck(operator, arguments)


def test_vmap_over_images_and_over_kernels():
    q0, q1 = kernels(3, 3, 5), kernels(3, 3, 5)
    images = torch.randn(4, 2, 3, 9, 8, dtype=torch.float64)
    expected = torch.stack([dense_responses(x, q0, q1, 2, 1) for x in images])
    torch.testing.assert_close(vmap(lambda x: correlate(x, q0, q1, 2, 1))(images), expected)
    each = vmap(grad(lambda x: correlate(x, q0, q1, 2, 1).square().sum()))(images)
    images.requires_grad_()
    together = dense_responses(images.flatten(0, 1), q0, q1, 2, 1).square().sum()
    torch.testing.assert_close(each, torch.autograd.grad(together, images)[0])
    weights = torch.stack([q0, -q0])
    ours = vmap(lambda w: correlate(images[0].detach(), w, q1, 2, 3))(weights)
    torch.testing.assert_close(ours[1], -ours[0])


def test_trained_kernels_are_refused():
    q0 = kernels(3, 3, 5).requires_grad_()
    with pytest.raises(NotImplementedError, match="no gradient with respect to its kernels"):
        correlate(torch.randn(1, 3, 9, 9, dtype=torch.float64), q0, q0.detach(), 2, 0)


def test_what_sees_only_grey_is_exactly_silent():
    """As under a convolution: rounding would otherwise give silent cells a direction."""
    q0, q1 = (kernels(20, 3, 25, dtype=torch.float32) for _ in range(2))
    images = torch.rand(2, 3, 224, 224)
    images[0, :, 40:180, 40:180] = 0
    images[1, 1] = 0  # one colour is grey everywhere
    expected = dense_responses(images, q0, q1, 4, 0)
    ours = correlate(images, q0, q1, 4, 0)
    assert (expected[0] == 0).any()
    assert torch.equal(ours == 0, expected == 0)


CHEAPER = {(224, 25, 4): True, (64, 29, 2): True, (32, 15, 2): True}
CHEAPER |= {(224, 3, 2): False, (224, 7, 4): False, (0, 25, 4): False}


@pytest.mark.parametrize(("size", "kernel", "stride"), CHEAPER)
def test_it_is_chosen_where_it_saves_half_the_work(size, kernel, stride):
    images = torch.empty(1, 3, size, size, device="meta")
    assert is_cheaper(images, kernel, stride) == CHEAPER[size, kernel, stride]

"""The fast path against the block's own definition and a float64 oracle; where it steps aside."""

import copy

import pytest
import torch
from torch import nn

from vonenet.v1 import fast
from vonenet.v1.block import CHILD_TYPES, VOneBlock
from vonenet.v1.noise import fixed_noise

SMALL = {"simple_channels": 6, "complex_channels": 5, "image_size": 32}
KINDS = [
    {},
    {"filters": "legacy"},
    {"in_chans": 1},
    {"simple_channels": 0},
    {"complex_channels": 0},
    {"stride": 3},
]


def images_for(block, *size, batch=3):
    images = torch.rand(batch, block.config.in_chans, *size) * 2 - 1
    images[0, :, 4:28, 4:28] = 0  # grey, where complex cells are silent
    return images


def by_definition(block):
    """A copy whose hooks keep the fast path away."""
    copied = copy.deepcopy(block)
    copied.output.register_forward_hook(lambda *_: None)
    return copied


def relative_error(ours, expected):
    ours, expected = ours.detach().double(), expected.detach().double()
    return float((ours - expected).abs().max() / expected.abs().max())


@pytest.fixture(params=[1, 2**21], ids=["a chunk for each image", "one chunk"], autouse=True)
def chunk(request, monkeypatch):
    monkeypatch.setattr(fast, "CHUNK", request.param)
    monkeypatch.setattr(fast, "STEP", 1000)


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("size", [(32, 32), (31, 37), (40, 9)])
def test_mean_responses_and_gradients_are_those_of_float64(settings, size):
    block = VOneBlock(**{**SMALL, **settings})
    oracle = by_definition(block).double()
    images = images_for(block, *size)
    ours_in, oracle_in = images.requires_grad_(), images.detach().double().requires_grad_()
    ours, expected = block.mean_response(ours_in), oracle.mean_response(oracle_in)
    assert type(ours.grad_fn).__name__ == "MeanResponseBackward"
    assert relative_error(ours, expected) < 1e-5
    direction = torch.randn_like(ours)
    # Where a phase or a magnitude is 0 in one precision and not in the other, the gradient jumps.
    direction[expected < 1e-6] = 0
    gradient = torch.autograd.grad(ours, ours_in, direction)[0]
    oracle_gradient = torch.autograd.grad(expected, oracle_in, direction.double())[0]
    assert relative_error(gradient, oracle_gradient) < 1e-5


@pytest.mark.parametrize("noise", ["neuronal", "gaussian", None])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_one_seed_gives_the_definitions_responses_and_gradients(noise, needs_gradient):
    block = VOneBlock(**SMALL, noise=noise)
    results = []
    images = images_for(block, 33, 32)
    for version in (block, by_definition(block)):
        inputs = images.clone().requires_grad_(needs_gradient)
        torch.manual_seed(3)
        responses = version(inputs)
        assert responses.requires_grad == needs_gradient
        results.append([responses.detach()])
        if needs_gradient:
            responses.square().sum().backward()
            results[-1].append(inputs.grad)
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["neuronal", "gaussian"])
def test_fixed_noise_is_the_same_draw_on_both_paths(noise):
    block = VOneBlock(**SMALL, noise=noise)
    images = images_for(block, 32, 32)
    definition = by_definition(block)
    with fixed_noise(block, 2), fixed_noise(definition, 2), torch.no_grad():
        torch.testing.assert_close(block(images), definition(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0.07, 0.0])
@pytest.mark.parametrize("mode", ["neuronal", "gaussian", None])
def test_the_gradient_of_the_noise_is_right_on_both_sides_of_silence(mode, level):
    block = VOneBlock(**SMALL, noise=mode, noise_level=level)
    mean = torch.tensor([-3.0, -0.21, 0.02, 1.0, 20.0, 4.0], dtype=torch.float64).view(2, 3)
    draw = torch.tensor([9.0, 9.0, 0.5, -0.3, 2.0, -9.0], dtype=torch.float64).view(2, 3)
    mean.requires_grad_()
    assert type(block.respond(mean, draw).grad_fn).__name__ == "RectifiedNoiseBackward"
    assert torch.autograd.gradcheck(lambda x: block.respond(x, draw), mean)
    assert torch.autograd.gradgradcheck(lambda x: block.respond(x, draw), mean)
    assert torch.autograd.gradcheck(lambda x: block.respond(x, draw[:1]), mean)


def test_second_derivatives_are_right():
    block = VOneBlock(**SMALL).double()
    images = torch.rand(1, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block.mean_response, images)
    assert torch.autograd.gradgradcheck(block.mean_response, images)
    with fixed_noise(block, 0):
        assert torch.autograd.gradgradcheck(block, images)


def test_images_that_need_no_gradient_cost_none():
    block = VOneBlock(**SMALL)
    responses = block(images_for(block, 32, 32))
    assert responses.grad_fn is None
    assert not responses.requires_grad


def saved_bytes(function):
    total = 0

    def keep(tensor):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    return total


def test_less_is_kept_for_the_backward_pass():
    block = VOneBlock(**SMALL)
    images = images_for(block, 32, 32).requires_grad_()
    linear = 6 + 2 * 5  # rows of filters that are needed
    mean_and_noisy = 2 * (6 + 5)
    maps = saved_bytes(lambda: block(images)) - 4 * images.numel()
    assert maps == 4 * 3 * 16 * 16 * (linear + mean_and_noisy)


@pytest.mark.parametrize("name", CHILD_TYPES)
def test_a_hooked_child_is_called(name):
    block = VOneBlock(**SMALL)
    seen = []
    getattr(block, name).register_forward_hook(lambda module, inputs, output: seen.append(output))
    block(images_for(block, 32, 32))
    assert len(seen) == 1


def test_a_replaced_child_is_called():
    block = VOneBlock(**SMALL)
    block.output = nn.Identity()
    assert block(images_for(block, 32, 32)).min() < 0


def test_a_strategy_that_was_asked_for_is_used():
    block = VOneBlock(**SMALL)
    images = images_for(block, 32, 32).requires_grad_()
    expected = block.mean_response(images)
    block.filter_bank.strategy = "space_to_depth"
    ours = block.mean_response(images)
    assert type(ours.grad_fn).__name__ != "MeanResponseBackward"
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_torch_func_takes_the_definition():
    block = VOneBlock(**SMALL).double()
    images = images_for(block, 32, 32).double()
    with fixed_noise(block, 1):

        def loss(image):
            return block(image[None]).square().sum()

        separately = torch.func.vmap(torch.func.grad(loss))(images)
        inputs = images.clone().requires_grad_()
        block(inputs).square().sum().backward()
        torch.testing.assert_close(separately, inputs.grad)


def test_an_empty_batch_gives_an_empty_response():
    block = VOneBlock(**SMALL)
    assert block(torch.empty(0, 3, 32, 32)).shape == (0, 11, 16, 16)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_any_memory_layout_gives_the_same(layout):
    block = VOneBlock(**SMALL)
    images = images_for(block, 32, 32)
    expected = block.mean_response(images)
    block.to(memory_format=layout)
    assert torch.equal(block.mean_response(images.to(memory_format=layout)), expected)
    assert all(rows.stride(-1) == 1 for rows in block.filter_bank.kernels)  # convolutions copy them


# Of the largest response, against float64. bfloat16 keeps 8 bits and float16 keeps 11.
REDUCED = {torch.bfloat16: 1.2e-2, torch.float16: 1.5e-3}


@pytest.mark.parametrize("dtype", REDUCED)
@pytest.mark.parametrize("way", ["autocast", "cast"])
@pytest.mark.parametrize("path", [lambda block: block, by_definition], ids=["fast", "definition"])
def test_reduced_precision_stays_sound(dtype, way, path):
    block = VOneBlock(**SMALL)
    images = images_for(block, 32, 32)
    oracle = by_definition(block).double().mean_response(images.double())
    reduced = path(block)
    if way == "cast":
        reduced, images = reduced.to(dtype), images.to(dtype)
    images.requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=way == "autocast"):
        mean, noisy = reduced.mean_response(images), reduced(images)
    assert mean.dtype == noisy.dtype == dtype
    assert relative_error(mean, oracle) < REDUCED[dtype]
    assert noisy.isfinite().all()
    (gradient,) = torch.autograd.grad(noisy.float().sum(), images)
    assert gradient.dtype == images.dtype
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", REDUCED)
def test_noise_in_reduced_precision_has_the_right_deviation(dtype):
    block = VOneBlock(**SMALL)
    for mean in (20.0, 100.0):
        noisy = block.respond(torch.full((20, 2, 50, 50), mean, dtype=dtype)).double()
        expected = (0.35 * mean + 0.07) ** 0.5 / 0.35
        assert float(noisy.std()) == pytest.approx(expected, rel=0.02)
        assert float(noisy.mean()) == pytest.approx(mean, abs=5 * expected / 50_000**0.5 + 0.01)


def test_a_used_block_can_be_pickled(tmp_path):
    block = VOneBlock(**SMALL)
    block(images_for(block, 32, 32))
    torch.save(block, tmp_path / "block.pt")
    again = torch.load(tmp_path / "block.pt", weights_only=False)
    images = images_for(block, 32, 32)
    assert torch.equal(again.mean_response(images), block.mean_response(images))

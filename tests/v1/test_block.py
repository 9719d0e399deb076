"""The V1 block: the original's outputs, right and finite gradients, hooks, sizes, transforms."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from vonenet.errors import InputError, VOneNetWarning
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import fixed_noise
from vonenet.v1.parameters import draw_parameters

SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}
MODES = ["neuronal", "gaussian", None]


@pytest.mark.parametrize("variant", [0, 1])
def test_responses_are_the_originals(golden_outputs, variant):
    settings = json.loads(str(golden_outputs[f"variant{variant}_args"]))
    settings["kernel_size"] = settings.pop("ksize")
    block = VOneBlock(filters="legacy", color_seed=variant, noise=None, **settings)
    size, generator = settings["image_size"], torch.Generator().manual_seed(300 + variant)
    images = torch.rand(2, 3, size, size, generator=generator) * 2 - 1
    golden = golden_outputs[f"variant{variant}_v1"]
    np.testing.assert_allclose(block(images)[:1], golden, atol=1e-5 * golden.max())


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")  # so few filters are no sample
@pytest.mark.parametrize("way", ["fourier", "convolution"])
@pytest.mark.parametrize("mode", MODES)
def test_image_gradients_are_right(mode, way):
    block = VOneBlock(simple_channels=2, complex_channels=2, image_size=32, noise=mode).double()
    block.way = way
    images = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    with fixed_noise(block, 0):
        assert torch.autograd.gradcheck(block, images)
        assert torch.autograd.gradgradcheck(block, images)


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("picture", ["grey", "black", "white", "grey square in noise", "tiny"])
def test_image_gradients_are_finite_everywhere(mode, picture):
    """The published code raises an error, and gives NaN on uniform regions."""
    block = VOneBlock(simple_channels=16, complex_channels=16, image_size=64, noise=mode)
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    if picture == "grey square in noise":
        images[..., 10:50, 10:50] = 0
    elif picture == "tiny":  # energies underflow
        images *= 1e-22
    else:
        images[:] = {"grey": 0.0, "black": -1.0, "white": 1.0}[picture]
    images.requires_grad_()
    block(images).sum().backward()
    assert images.grad.isfinite().all()
    functional = grad(lambda x: functional_call(block, {}, (x,)).sum())(images.detach())
    assert functional.isfinite().all()


@pytest.mark.parametrize("mode", ["neuronal", "gaussian"])
def test_gradients_under_vmap_are_those_of_the_batch(mode):
    block = VOneBlock(**SMALL, noise=mode)
    images = torch.rand(3, 3, 32, 32)
    with fixed_noise(block, 0):
        each = vmap(grad(lambda x: block(x[None]).square().sum()))(images)
        images.requires_grad_()
        block(images).square().sum().backward()
    torch.testing.assert_close(each, images.grad, rtol=1e-4, atol=1e-4)
    images = images.detach()
    fresh = vmap(grad(lambda x: block(x[None]).sum()), randomness="different")(images)
    assert fresh.isfinite().all()
    same = images[:1].expand(3, -1, -1, -1)
    for randomness, draws in (("different", 3), ("same", 1)):
        responses = vmap(lambda x: block(x[None]), randomness=randomness)(same)
        assert len(responses.flatten(1).unique(dim=0)) == draws
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda x: block(x[None]))(images)


def test_hooks_return_what_their_names_say():
    """In the published code the noise overwrites what earlier hooks returned."""
    block, seen = VOneBlock(**SMALL), {}
    names = ["simple_conv_q0", "simple_conv_q1", "simple", "complex", "gabors", "noise", "output"]
    for name in names:
        block.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output})
        )
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    output = block(images)
    assert list(seen) == names
    q0, q1 = block.simple_conv_q0(images), block.simple_conv_q1(images)
    mean = block.mean_response(images)
    torch.testing.assert_close(seen["simple_conv_q0"], q0)
    torch.testing.assert_close(seen["simple_conv_q1"], q1)
    torch.testing.assert_close(seen["simple"], q0[:, :4].relu())
    torch.testing.assert_close(seen["complex"], (q0[:, 4:] ** 2 + q1**2).sqrt() / 2**0.5)
    torch.testing.assert_close(seen["gabors"], mean)
    assert torch.equal(seen["output"], output)
    assert torch.equal(seen["noise"], output)
    torch.testing.assert_close(mean, 25 * torch.cat([seen["simple"], seen["complex"]], 1))


def test_complex_cells_ignore_phase_and_simple_cells_do_not():
    """The quadrature property, on a grating at each unit's own orientation and frequency."""
    parameters = draw_parameters(40, sf_min=2, sf_max=4)
    wide = {**parameters.to_dict(), "nx_cycles": [0.6] * 40, "ny_cycles": [0.6] * 40}
    block = VOneBlock(
        simple_channels=0,
        complex_channels=40,
        noise=None,
        kernel_size=61,
        gabor_parameters=type(parameters).from_dict(wide),
    )
    ppd, size = block.config.pixels_per_degree, 96
    position = (torch.arange(size) - size // 2) / ppd
    theta = torch.deg2rad(torch.tensor(wide["orientation_deg"]))[:, None, None]
    along = position[:, None] * torch.cos(theta) + position * torch.sin(theta)
    cycles = torch.tensor(wide["frequency_cpd"])[:, None, None] * along
    responses = []
    for phase in torch.arange(0, 2 * torch.pi, torch.pi / 4):
        gratings = torch.cos(2 * torch.pi * cycles + phase).float()[:, None].expand(-1, 3, -1, -1)
        centre = block(gratings)[:, :, size // 8, size // 8]
        responses.append(centre.diagonal())
    modulation = torch.stack(responses).std(dim=0) / torch.stack(responses).mean(dim=0)
    assert modulation.max() < 0.05


@pytest.mark.parametrize("size", [28, 32, 64, 96, 160, 224])
def test_every_usual_size_has_sound_defaults(size):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block = VOneBlock(simple_channels=128, complex_channels=128, image_size=size)
    report = block.sampling_report()
    assert report.aliased == 0
    assert report.truncated <= 0.12
    config = block.config
    assert block(torch.zeros(1, 3, size, size)).shape[-1] == size // config.stride
    expected = {28: (2, 13, 2), 32: (2, 15, 2), 64: (2, 29, 2), 96: (4, 23, 2)}
    expected |= {160: (8, 19, 4), 224: (8, 25, 4)}
    assert (config.visual_degrees, config.kernel_size, config.stride) == expected[size]
    wide = VOneBlock(**{**SMALL, "image_size": (size, 2 * size)})  # degrees on the shorter side
    assert wide.config.pixels_per_degree == config.pixels_per_degree
    assert wide(torch.zeros(1, 3, size, 2 * size)).shape[-1] == 2 * size // config.stride


def test_broken_filters_are_told_with_the_remedy():
    with pytest.warns(VOneNetWarning, match=r"alias.*Nyquist limit of 2 .*set sf_max to at most 2"):
        VOneBlock(image_size=32, visual_degrees=8, sf_max=9, kernel_size=25)
    with pytest.warns(VOneNetWarning, match=r"cut off; set kernel_size to \d+$"):
        VOneBlock(image_size=224, kernel_size=9)


def test_one_seed_one_block_whatever_torch_has_drawn():
    """In the published code colours come from torch's global state, and numpy's is reseeded."""
    first = VOneBlock(**SMALL)
    torch.rand(10)
    second = VOneBlock(**SMALL)
    assert torch.equal(first.simple_conv_q0.weight, second.simple_conv_q0.weight)
    reads = [
        conv.weight.flatten(2).ne(0).any(dim=2)
        for conv in (first.simple_conv_q0, first.simple_conv_q1)
    ]
    assert torch.equal(*reads)
    assert (reads[0].sum(dim=1) == 1).all()


def test_an_empty_batch_gives_an_empty_response_and_no_gradient_is_kept_unasked():
    responses = VOneBlock(**SMALL)(torch.empty(0, 3, 32, 32))
    assert responses.shape == (0, 8, 16, 16)
    assert responses.grad_fn is None


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize(("n_simple", "n_complex"), [(0, 5), (5, 0), (1, 1)])
def test_one_kind_of_cells_is_enough(n_simple, n_complex):
    block = VOneBlock(simple_channels=n_simple, complex_channels=n_complex, image_size=32)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    block(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_any_memory_layout_gives_the_same(layout):
    block = VOneBlock(**SMALL)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    expected = block.mean_response(images)
    block.to(memory_format=layout)
    assert torch.equal(block.mean_response(images.to(memory_format=layout)), expected)


# Of the largest response, against float64. bfloat16 keeps 8 bits and float16 keeps 11.
REDUCED = {torch.bfloat16: 1.2e-2, torch.float16: 1.5e-3}


@pytest.mark.parametrize("dtype", REDUCED)
@pytest.mark.parametrize("precision", ["autocast", "cast"])
@pytest.mark.parametrize("way", [None, "convolution"])
def test_reduced_precision_stays_sound(dtype, precision, way):
    block = VOneBlock(**SMALL)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    images[0, :, 4:28, 4:28] = 0  # grey, where complex cells are silent
    oracle = copy.deepcopy(block).double().mean_response(images.double())
    block.way = way
    if precision == "cast":
        block, images = block.to(dtype), images.to(dtype)
    images.requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=precision == "autocast"):
        mean, noisy = block.mean_response(images), block(images)
    assert mean.dtype == noisy.dtype == dtype
    assert float((mean.detach().double() - oracle).abs().max() / oracle.max()) < REDUCED[dtype]
    assert noisy.isfinite().all()
    (gradient,) = torch.autograd.grad(noisy.float().sum(), images)
    assert gradient.dtype == images.dtype
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", REDUCED)
def test_noise_in_reduced_precision_has_the_right_deviation(dtype):
    block = VOneBlock(**SMALL)
    for mean in (200.0, 400.0):  # far from rectification
        noisy = block.respond(torch.full((20, 2, 50, 50), mean, dtype=dtype)).double()
        expected = (0.35 * mean + 0.07) ** 0.5 / 0.35
        assert float(noisy.std()) == pytest.approx(expected, rel=0.02)
        assert float(noisy.mean()) == pytest.approx(mean, abs=5 * expected / 50_000**0.5 + 0.02)


def test_little_is_kept_for_the_backward_pass():
    """Both phases' responses, the pairs' lengths, mean and noisy responses: no temporary ones."""
    total = 0

    def keep(tensor):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    block = VOneBlock(**SMALL)
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(images)
    weights = 2 * block.simple_conv_q0.weight.numel()
    simple, pairs, lengths, mean_and_noisy = 4, 2 * 4, 4, 2 * 8
    maps = simple + pairs + lengths + mean_and_noisy
    assert total == 4 * (weights + 3 * 16 * 16 * maps)


def test_a_used_block_can_be_saved_copied_and_moved():
    block = VOneBlock(**SMALL, noise=None)
    images = torch.rand(1, 3, 32, 32)
    expected, pickled = block(images), pickle.dumps(block)
    assert len(pickled) < 3 * 4 * 2 * block.simple_conv_q0.weight.numel()
    for again in (copy.deepcopy(block), pickle.loads(pickled), block.to("cpu")):
        assert torch.equal(again(images), expected)
    assert block.to("meta")(images.to("meta")).shape == (1, 8, 16, 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"in_chans": 0}, "in_chans must be a whole number from 1 .*, got 0"),
        ({"kernel_size": 24}, "odd number of pixels.*got 24, try 25"),
        ({"image_size": (0, 5)}, r"image_size must be .* got \(0, 5\)"),
        ({"image_size": "224"}, "image_size must be .* got '224'"),
        ({"simple_channels": 0, "complex_channels": 0}, "needs cells"),
        ({"simple_channels": -1}, "simple_channels must be a whole number from 0 to .*, got -1"),
        ({"visual_degrees": 0.0}, "visual_degrees must be a number from .* to 360, got 0.0"),
        ({"stride": 0}, "stride must be a whole number from 1 .*, got 0"),
        ({"filters": "gabor"}, "filters must be one of .* got 'gabor'"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        VOneBlock(**settings)


def test_unknown_settings_and_wrong_images_are_refused():
    with pytest.raises(TypeError, match="kernl_size"):
        VOneBlock(kernl_size=31)
    for shape in ((3, 32, 32), (1, 1, 32, 32)):
        with pytest.raises(
            InputError, match=r"must have shape \(batch, 3, height, width\) with .*, got"
        ):
            VOneBlock(**SMALL)(torch.zeros(shape))


def test_parameters_can_be_given():
    parameters = draw_parameters(8, seed=9)
    block = VOneBlock(**SMALL, gabor_parameters=parameters)
    assert block.config.filters == "given"
    with pytest.raises(InputError, match="need as many Gabor parameters, got 7"):
        VOneBlock(**SMALL, gabor_parameters=draw_parameters(7))

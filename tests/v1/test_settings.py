"""What a block is built from and given: plain numbers, or one line; and what it says of itself."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

import vonenet
from vonenet.errors import InputError, SettingError, VOneNetWarning
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.parameters import draw_parameters

SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}
PICTURE = Image.new("RGB", (32, 32))
NUMBERS = [
    name
    for name, value in vars(VOneBlockConfig().resolved()).items()
    if isinstance(value, int | float | tuple) and not isinstance(value, bool)
]


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e300, -1, True, "7", [], 1e-300, 2**70, (1,)])
@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_finite_in_range_and_a_number(name, value):
    if (name, value) in [(n, 1e-300) for n in ("sf_min", "sf_corr", "noise_level")] + [
        ("sf_corr", -1)
    ]:
        return
    with pytest.raises(InputError, match=f"^({name}|image_size) .*") as refusal:
        VOneBlockConfig(**{name: value})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"rectified": 1},
        {"dc_balanced": "no"},
        {"channel_shares": (0.5, 0.6)},
        {"channel_shares": (1.5, -0.5)},
    ],
)
def test_other_settings_are_what_they_say(settings):
    with pytest.raises(InputError, match=f"^{next(iter(settings))} must be "):
        VOneBlockConfig(**settings)


@pytest.mark.parametrize("settings", [{"visual_degrees": 1e-6}, {"simple_channels": 2**30}])
def test_more_weights_than_memory_are_refused_before_they_are_made(settings):
    with pytest.raises(InputError, match="cells with kernels of .* weights, at most"):
        VOneBlock(**settings)


def test_numbers_of_numpy_and_torch_become_plain_ones():
    config = VOneBlockConfig(
        image_size=np.int64(64),
        visual_degrees=np.float32(2),
        stride=torch.tensor(2),
        seed=np.array(3),
    )
    assert config == VOneBlockConfig(image_size=64, visual_degrees=2.0, stride=2, seed=3)
    assert {type(value) for value in vars(config).values()} <= {int, float, str, bool, type(None)}
    for pair in ([32, 64], np.array([32, 64]), torch.Size([32, 64]), (np.int64(32), 64)):
        assert VOneBlockConfig(image_size=pair).image_size == (32, 64)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float64, torch.half])
def test_images_of_another_type_are_refused_in_one_line(kind):
    block, images = VOneBlock(**SMALL), torch.ones(1, 3, 32, 32).to(kind)
    with pytest.raises(InputError, match=f"{kind}.*type images"):
        block(images)
    if kind == torch.uint8:
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(InputError, match="uint8"):
            block(images)


@pytest.mark.parametrize("front_end", ["vonenet", "evnet2025", "vonenet_foveated"])
@pytest.mark.parametrize(
    "images", [np.zeros((1, 3, 32, 32)), [torch.zeros(3, 8, 8)], None, PICTURE]
)
def test_what_is_no_tensor_is_refused_with_what_to_type(front_end, images):
    model = vonenet.create_front_end(front_end, image_size=32, seed=3)
    with pytest.raises(InputError, match=r"got (ndarray|list|NoneType|Image); .*torch\.from_numpy"):
        model(images)


@pytest.mark.parametrize("shape", [(1, 3, 0, 32), (0, 3, 0, 0), (2, 3, 32, 0)])
def test_images_without_pixels_are_refused(shape):
    with pytest.raises(InputError, match="1 pixel or more, got"):
        VOneBlock(**SMALL)(torch.ones(shape))


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("way", ["fourier", "convolution", "space_to_depth"])
@pytest.mark.parametrize("cells", [(4, 4), (2, 0), (0, 1)])
def test_a_colour_that_no_filter_reads_and_a_phase_without_cells_are_no_matter(cells, way):
    n_simple, n_complex = cells
    block = VOneBlock(simple_channels=n_simple, complex_channels=n_complex, image_size=32, seed=2)
    assert len(set(block.gabor_parameters.color_channel)) < 3
    block.way = way
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    block(images).sum().backward()
    assert images.grad.isfinite().all()
    assert block.simple_conv_q0(images).shape[1] == n_simple + n_complex


def test_the_default_type_and_device_are_torchs():
    expected = VOneBlock(**SMALL, noise=None)(torch.ones(1, 3, 32, 32))
    torch.set_default_dtype(torch.float64)
    try:
        block = VOneBlock(**SMALL, noise=None)
        responses = block(torch.ones(1, 3, 32, 32))
    finally:
        torch.set_default_dtype(torch.float32)
    assert responses.dtype == torch.float64
    torch.testing.assert_close(responses.float(), expected)
    with torch.device("meta"):
        block = VOneBlock(**SMALL)
        assert block(torch.ones(1, 3, 32, 32)).device.type == "meta"


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
def test_parameters_describe_the_filters_that_are_computed_with():
    block, other = VOneBlock(**SMALL), VOneBlock(**SMALL, seed=3)
    built = copy.deepcopy(block.state_dict())
    for same in (block.half().float(), block.bfloat16().float()):
        assert same.gabor_parameters is not None
    block.load_state_dict(other.state_dict())
    names = ("gabor_parameters", "gabor_params", "sf", "theta", "phase", "sigx", "sigy")
    assert [getattr(block, name) for name in names] == [None] * len(names)
    assert block.sampling_report() is None
    block.load_state_dict(built)
    assert block.gabor_parameters is not None
    block.simple_conv_q1.weight.mul_(1.1)
    assert block.gabor_parameters is None


def test_the_originals_names_read_its_numbers_and_units(golden_parameters):
    n, seed, sf_corr, sf_max, sf_min = golden_parameters["case0_args"]
    block = VOneBlock(
        simple_channels=int(n) // 2, complex_channels=int(n) - int(n) // 2, filters="legacy",
        seed=int(seed), sf_corr=sf_corr, sf_max=sf_max, sf_min=sf_min,
    )  # fmt: skip
    golden = {name: golden_parameters[f"case0_{name}"] for name in ("sf", "theta", "phase", "nx")}
    for name, values in golden.items():
        np.testing.assert_allclose(block.gabor_params[name], values)
    np.testing.assert_allclose(block.sf, golden["sf"] / 28)
    np.testing.assert_allclose(block.theta, golden["theta"] / 180 * np.pi)
    np.testing.assert_allclose(block.sigx, golden["nx"] / block.sf)
    assert (block.k_exc, block.stride, block.input_size, block.in_channels) == (25, 4, 224, 3)


def test_the_remedy_for_cut_filters_mends_them():
    """More degrees would not: a kernel that is not given keeps its degrees."""
    with pytest.warns(UserWarning, match=r"cut off; set kernel_size to \d+$") as told:
        VOneBlock(image_size=224, kernel_size=9)
    needed = int(str(told[0].message).rsplit(" ", 1)[1])
    assert VOneBlock(image_size=224, kernel_size=needed).sampling_report().truncated <= 0.12


@pytest.mark.parametrize(
    "change", [{"frequency_cpd": np.inf}, {"phase_deg": np.nan}, {"color_channel": 3}]
)
def test_impossible_parameters_are_named(change):
    values = draw_parameters(8).to_dict()
    ((name, value),) = change.items()
    values[name][2] = value
    with pytest.raises(InputError, match=f"{name} must be"):
        VOneBlock(**SMALL, gabor_parameters=type(draw_parameters(1)).from_dict(values))


def test_names_of_the_original_build_a_block_or_say_what_to_type():
    sizes = {"simple_channels": 1, "complex_channels": 1, "image_size": 16, "visual_degrees": 1}
    with pytest.warns(VOneNetWarning) as said:
        block = VOneBlock(ksize=7, **sizes)
    assert str(said[0].message) == "ksize is kernel_size=7 here"
    assert block.simple_conv_q0.weight.shape[-1] == 7
    with pytest.raises(SettingError, match=r"VOneBlock\(gabor_parameters="):
        VOneBlock(theta=[0.0], **sizes)
    with pytest.raises(AttributeError, match=r"leave out \.module"):
        _ = block.module

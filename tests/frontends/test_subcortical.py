"""The subcortical stage against plain formulas, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.frontends.subcortical import (
    M_CELLS,
    P_CELLS,
    CenterSurround,
    ContrastNormalization,
    LightAdaptation,
    Subcortical,
    SubcorticalConfig,
)
from vonenet.v1.gaussian import GaussianBlur
from vonenet.v1.noise import Noise, no_noise


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"p_cells": ("r/b",)}, "p_cells must be of r/g, g/r, b/y, w/b, got 'r/b'"),
        ({"m_cells": ("x",)}, "m_cells must be of"),
        ({"p_cells": (), "m_cells": ()}, "needs cells: p_cells and m_cells are empty"),
        ({"light_adaptation": "on"}, "light_adaptation must be all, lit or None, got 'on'"),
        ({"noise": "gaussian"}, "noise must be 'neuronal' or None, got 'gaussian'"),
        ({"fano_factor": 0}, "fano_factor must be"),
        ({"fano_factor": float("nan")}, "fano_factor must be"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(setting, words):
    with pytest.raises(InputError, match=words) as caught:
        SubcorticalConfig(**setting)
    assert "\n" not in str(caught.value)


def test_grey_images_are_refused():
    with pytest.raises(InputError, match="opposes colours: in_chans must be 3, got 1"):
        SubcorticalConfig().build(1, 32.0)


@pytest.mark.parametrize("adaptation", ["all", None])
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(1, 1, 8, 8), r"shape \(batch, 3, height, width\)"),
        (torch.rand(3, 8, 8), r"shape \(batch, 3, height, width\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "got torch.uint8; .* type images / "),
        (torch.rand(1, 3, 8, 8).double(), "images are torch.float64"),
    ],
)
def test_images_that_cannot_be_seen_are_refused(adaptation, images, words):
    stage = Subcortical(SubcorticalConfig(light_adaptation=adaptation), 8.0)
    with pytest.raises(InputError, match=words):
        stage(images)


def test_images_are_pixels_unless_nothing_adapts_to_their_light():
    assert Subcortical(SubcorticalConfig(), 8.0).reads == "pixels"
    assert Subcortical(SubcorticalConfig(light_adaptation=None), 8.0).reads == "normalized"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 20), (64, 40)])
@pytest.mark.parametrize(("radius", "side"), [(1.5, 5), (4.0, 13), (9.0, 43)])
def test_blur_is_that_of_scipy(size, radius, side):
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    blur = GaussianBlur(radius, side).double()
    distances = np.arange(side) - side // 2
    profile = np.exp(-((distances / radius) ** 2))
    expected = images.numpy()
    for axis in (-2, -1):
        if images.shape[axis] > 1:  # of one pixel scipy makes no mirror
            expected = ndimage.convolve1d(expected, profile, axis=axis, mode="mirror")
            expected = expected / profile.sum()
    torch.testing.assert_close(blur(images), torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


def test_blur_keeps_the_weights_that_it_is_given():
    spot = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    spot[..., 10, 10] = 1
    found = GaussianBlur(3.0, 9, total=None).double()(spot)[0, 0]
    d = torch.arange(21, dtype=torch.float64) - 10
    expected = torch.exp(-(d[:, None] ** 2 + d**2) / 9) * ((d[:, None].abs() < 5) & (d.abs() < 5))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def full_convolution(images, kernel):
    """One channel's convolution with reflected borders, by PyTorch."""
    pad = kernel.shape[-1] // 2
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    return F.conv2d(padded, kernel[None, None])


def gaussian(radius, side):
    d = torch.arange(side, dtype=torch.float64) - side // 2
    return torch.exp(-(d[:, None] ** 2 + d**2) / radius**2)


@pytest.mark.parametrize(("cells", "color"), [(P_CELLS, "r/g"), (P_CELLS, "b/y"), (M_CELLS, "w/b")])
def test_center_and_surround_are_one_kernel_a_colour(cells, color):
    scale, x = 0.5, torch.rand(1, 3, 40, 40, dtype=torch.float64)
    stage = CenterSurround(cells, (color,), scale).double()
    side = stage.surround.profile.numel()
    center = gaussian(cells.center_px * scale, side)
    surround = cells.surround_weight * gaussian(cells.surround_px * scale, side)
    total = abs(float(center.sum() + surround.sum()))
    weights = {
        "r/g": ([1, 0, 0], [0, 1, 0]),
        "b/y": ([0, 0, 1], [0.5, 0.5, 0]),
        "w/b": ([1 / 3] * 3, [1 / 3] * 3),
    }[color]
    expected = sum(
        full_convolution(x[:, i : i + 1], (a * center + b * surround) / total)
        for i, (a, b) in enumerate(zip(*weights, strict=True))
    )
    torch.testing.assert_close(stage(x), expected, rtol=1e-5, atol=1e-6)


def test_colour_blind_cells_see_light_fully_and_opponents_little():
    stage = Subcortical(SubcorticalConfig(contrast_normalization=False), 16.0)
    contrasts = torch.ones(1, 3, 32, 32)
    (red, green, blue), (white,) = (cells(contrasts)[0, :, 16, 16] for cells in stage.cells)
    # Weights of centre and surround sum to 1
    torch.testing.assert_close(torch.stack([red, green, blue, white]), torch.ones(4))


@pytest.mark.parametrize("cells", [P_CELLS, M_CELLS])
def test_contrast_normalization_divides_by_the_pool(cells):
    x = torch.randn(1, 2, 50, 50, dtype=torch.float64)
    stage = ContrastNormalization(cells, 0.5).double()
    kernel = gaussian(cells.pool_px * 0.5, stage.pool.profile.numel())
    kernel = kernel / kernel.sum()
    pool = torch.cat([full_convolution(x[:, i : i + 1] ** 2, kernel) for i in range(2)], 1)
    expected = x / (pool.sqrt() + cells.c50) ** cells.exponent
    torch.testing.assert_close(stage(x), expected, rtol=1e-5, atol=1e-6)


def test_light_adaptation_is_the_contrast_to_the_mean():
    x = torch.rand(2, 3, 8, 8)
    for image, found in zip(x, LightAdaptation("all")(x), strict=True):
        torch.testing.assert_close(found, (image - image.mean()) / (image.mean() + 1e-5))
    for image, found in zip(x, LightAdaptation("lit")(x), strict=True):
        mean = image[image > 0.05].mean()
        torch.testing.assert_close(found, (image - mean) / (mean + 0.05))
    assert (LightAdaptation("lit")(torch.zeros(1, 3, 4, 4)) == 0).all()


@pytest.mark.parametrize("fano", [0.4, 2.0])
def test_variance_is_that_of_the_law(fano):
    stage = Subcortical(SubcorticalConfig(fano_factor=fano), 8.0)
    mean = torch.tensor([-3.0, -0.5, 0.0, 0.2, 4.0]).view(1, 5, 1, 1).expand(1, 5, 200, 500)
    drawn = stage.noise(mean) - mean
    expected = fano * (mean[0, :, 0, 0].abs() + 1e-5)
    torch.testing.assert_close(drawn.var((0, 2, 3)), expected, rtol=0.03, atol=0)
    assert (drawn.mean((0, 2, 3)).abs() < 5 * (expected / 1e5).sqrt()).all()
    assert (stage.noise(mean)[:, 0] < 0).any()  # not rectified


LAWS = [
    {"fano": 0.93, "floor": 1e-5, "rectified": False},
    {"fano": 1.7, "floor": 1e-2, "rectified": False},
    {"fano": 0.4, "floor": 4e-3, "rectified": False, "two_sided": True},
    {"fano": 2.0, "floor": 1e-2, "rectified": True},
]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("scale", "level"), [(1.0, 0.0), (0.35, 0.07)])
def test_variance_of_any_law_is_fano_times_spikes_and_a_floor(law, scale, level):
    noise, values = Noise("neuronal", scale, level, **law), [-2.0, -0.1, 0.0, 0.3, 90.0]
    mean = torch.tensor(values, dtype=torch.float64).view(1, 5, 1, 1).expand(1, 5, 200, 500)
    noise.fix(torch.randn(1, 5, 200, 500, dtype=torch.float64))
    drawn = noise(mean)
    spikes = scale * np.array(values) + level
    spikes = np.abs(spikes) if law.get("two_sided") else np.maximum(spikes, 0)
    variance = (law["fano"] * spikes + law["floor"]) / scale**2
    if law["rectified"]:
        drawn = drawn[:, 4:]  # hardly ever below 0
        variance, mean = variance[4:], mean[:, 4:]
    found = (drawn - mean).var((0, 2, 3)).numpy()
    np.testing.assert_allclose(found, variance, rtol=0.03)


@pytest.mark.parametrize("law", LAWS)
def test_gradient_is_that_of_the_plain_formula(law):
    noise, draw = Noise("neuronal", 0.7, 0.2, **law), torch.randn(1, 3, 4, 4, dtype=torch.float64)
    noise.fix(draw)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    spikes = 0.7 * x + 0.2
    driven = spikes.abs() if law.get("two_sided") else spikes.clamp_min(0)
    plain = x + draw * (law["fano"] * driven + law["floor"]).sqrt() / 0.7
    plain = plain.clamp_min(0) if law["rectified"] else plain
    torch.testing.assert_close(noise(x), plain)
    weight = torch.randn_like(plain)
    (found,) = torch.autograd.grad(noise(x), x, weight)
    (expected,) = torch.autograd.grad(plain, x, weight)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(noise, x)


@pytest.mark.parametrize(
    "setting",
    [{}, {"light_adaptation": None}, {"contrast_normalization": False, "light_adaptation": "lit"}],
)
def test_gradient_of_the_stage_is_that_of_differences(setting):
    stage = Subcortical(SubcorticalConfig(noise=None, **setting), 4.0).double()
    x = (0.1 + 0.8 * torch.rand(1, 3, 6, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(stage, x)
    noisy = Subcortical(SubcorticalConfig(**setting), 4.0).double()
    noisy.noise.fix(torch.randn(1, 4, 6, 5, dtype=torch.float64))
    assert torch.autograd.gradcheck(noisy, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_half_precision_is_finite(dtype, level):
    stage = Subcortical(SubcorticalConfig(), 16.0)
    pixels = torch.full((1, 3, 24, 24), level, requires_grad=True)
    with torch.autocast("cpu", dtype), no_noise(stage):
        responses = stage(pixels)
        (gradient,) = torch.autograd.grad(responses.float().square().sum(), pixels)
    assert responses.isfinite().all()
    assert gradient.isfinite().all()


def test_radii_follow_the_scale():
    small, large = (Subcortical(SubcorticalConfig(noise=None), scale) for scale in (16.0, 32.0))
    x = F.interpolate(torch.rand(1, 3, 10, 10), size=40, mode="bicubic")
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear")
    low, high = small(x), F.avg_pool2d(large(doubled), 2)
    inside = (..., slice(12, 28), slice(12, 28))
    error = (low[inside] - high[inside]).norm() / low[inside].norm()
    assert error < 0.1

"""Foveation: cortical magnification by its definition, its limits, and its place in a model."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq

import vonenet
from vonenet.frontends.foveation import POINTS, FoveationConfig
from vonenet.frontends.presets import PRESETS
from vonenet.model import VOneNet, VOneNetConfig
from vonenet.robustness.sampling import averaged_gradient
from vonenet.v1.config import VOneBlockConfig
from vonenet.zoo.registry import create_front_end

PPD = 8.0
SMALL = {"image_size": 32, "simple_channels": 4, "complex_channels": 4}


def foveate(images, **settings):
    return FoveationConfig(**settings).build(images.shape[1], PPD)(images)


def by_integration(image, e2_deg, fixation_deg):
    """Walk outwards until the integral of M is the radius; read the image there."""
    height, width = image.shape
    half_deg = min(height, width) / 2 / PPD

    def length(e_deg):
        return quad(lambda e: 1 / (1 + e / e2_deg), 0, e_deg)[0]

    m0 = half_deg / length(half_deg)
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = (column - (width - 1) / 2) / PPD, (row - (height - 1) / 2) / PPD
            radius, angle = math.hypot(x, y), math.atan2(y, x)

            def eccentricity(r_deg):
                return brentq(lambda e_deg: m0 * length(e_deg) - r_deg, 0, 1e4)

            magnification = m0 / (1 + eccentricity(radius) / e2_deg)
            spread_deg = max(0.0, 1 - magnification) / PPD
            for i in range(POINTS):
                e = eccentricity(radius + spread_deg * ((i + 0.5) / POINTS - 0.5))
                right = (e * math.cos(angle) + fixation_deg[0]) * PPD + (width - 1) / 2
                down = (e * math.sin(angle) + fixation_deg[1]) * PPD + (height - 1) / 2
                value = map_coordinates(image, [[down], [right]], order=1, mode="nearest")
                result[row, column] += value[0] / POINTS
    return result


@pytest.mark.parametrize("size", [(16, 13), (11, 16)])
@pytest.mark.parametrize("fixation_deg", [(0.0, 0.0), (0.3, -0.2)])
def test_magnification_falls_as_published(size, fixation_deg):
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    found = foveate(image, e2_deg=0.4, fixation_deg=fixation_deg)
    expected = by_integration(image[0, 0].numpy(), 0.4, fixation_deg)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-7)


def test_large_e2_is_the_identity():
    images = torch.rand(2, 3, 17, 22)
    torch.testing.assert_close(foveate(images, e2_deg=1e6), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_uniform_images_stay(value):
    images = torch.full((1, 3, 20, 20), value, requires_grad=True)
    found = foveate(images)
    torch.testing.assert_close(found, images)
    found.sum().backward()
    assert images.grad.isfinite().all()


def test_the_gradient_is_right():
    images = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: foveate(x, e2_deg=0.1), images)


def test_long_images_stay_finite():
    assert foveate(torch.rand(1, 1, 8, 4000), e2_deg=0.001).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"e2_deg": 0}, "e2_deg must be a number"),
        ({"fixation_deg": 3}, "fixation_deg must be two numbers"),
        ({"fixation_deg": (0, "up")}, "fixation_deg must be a number"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(vonenet.InputError, match=said):
        FoveationConfig(**settings)


def test_a_front_end_takes_the_pixels_that_the_next_stage_reads():
    assert create_front_end("vonenet_foveated", **SMALL).normalization == (0.5, 0.5)
    evnet = PRESETS["evnet2025"]
    config = VOneNetConfig(
        "voneresnet_small",
        "resnet_small",
        v1=evnet.v1_config(**SMALL),
        before_v1=(FoveationConfig(), *evnet.before_v1),
    )
    model = VOneNet.from_config(config)
    assert model.pretrained_cfg["mean"] == (0, 0, 0)
    assert model.foveation.in_channels == 3
    v1 = VOneBlockConfig(**SMALL)
    assert model.front_end.stages[-1].settings.pixels_per_degree != v1.pixels_per_degree


def test_where_a_model_looks_can_change_and_is_saved(tmp_path):
    model = vonenet.create_model(
        "voneresnet_small", front_end="vonenet_foveated", num_classes=5, **SMALL
    ).eval()
    images = torch.rand(2, 3, 32, 32)
    with vonenet.fixed_noise(model, 0):
        ahead = model(images)
        model.foveation.config = FoveationConfig(fixation_deg=(0.5, 0.0))
        right = model(images)
    assert not torch.allclose(ahead, right)
    vonenet.save_checkpoint(model, tmp_path / "a.safetensors")
    again = vonenet.load_checkpoint(tmp_path / "a.safetensors").eval()
    assert again.config == model.config
    with vonenet.fixed_noise(again, 0):
        assert torch.equal(again(images), right)


def test_a_foveated_model_is_attacked():
    model = vonenet.create_model(
        "voneresnet_small", front_end="vonenet_foveated", num_classes=5, **SMALL
    ).eval()
    labels = torch.tensor([0, 1])
    for images in (torch.rand(2, 3, 32, 32), -torch.ones(2, 3, 32, 32), torch.ones(2, 3, 32, 32)):
        gradient = averaged_gradient(model, images, labels, samples=2)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0

"""Corruptions against imagecorruptions-imaug and the parts of OpenCV and scikit-image it uses.

Where both are deterministic, pixels agree; where they draw random numbers, the draws are handed
over or the mean absolute change is compared. Its elastic transform, and its frost (six textures,
enlarged), are not the benchmark's: test_corruption_formulas.py has the definitions.
"""

import warnings

import numpy as np
import pytest
import torch

from tests.robustness.photographs import at_published_size
from tests.robustness.test_corruptions import DETERMINISTIC, RANDOM
from vonenet.robustness import corrupt
from vonenet.robustness.corruptions import blur, weather
from vonenet.robustness.corruptions.weather import plasma_fractal

pytestmark = pytest.mark.oracle
# Not frost and elastic_transform, which are others there
DRAWN = [name for name in RANDOM if name not in ("frost", "elastic_transform")]


@pytest.fixture(scope="module")
def oracle():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and others, on import
        return pytest.importorskip(
            "imagecorruptions", reason="needs pip install imagecorruptions-imaug"
        )


def theirs(oracle, images, name, severity):
    levels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        changed = [oracle.corrupt(each, severity, name) for each in levels]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_pixels_agree_to_a_grey_level(oracle, name, severity):
    """Theirs are ours cut to whole levels, but where both round differently on the way."""
    images = at_published_size(224)
    if name not in ("zoom_blur", "pixelate"):  # theirs cuts off centre; enlarges to the nearest
        images = images[..., :200]
    ours, published = 255 * corrupt(images, name, severity), theirs(oracle, images, name, severity)
    assert (ours - published).abs().max() <= 1.01
    if name != "pixelate":  # Pillow rounds there twice
        same = (ours + 1e-3).floor() == published  # a float32 is not always above its whole level
        assert same.double().mean() > 0.9


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", DRAWN)
def test_strengths_agree(oracle, name, severity):
    images = at_published_size(224).repeat(4, 1, 1, 1)
    pair = 255 * corrupt(images, name, severity), theirs(oracle, images, name, severity)
    ours, other = (float((changed - 255 * images).abs().mean()) for changed in pair)
    # Of 8 images; what is drawn once an image (angles, the coarse fractal, drops) varies more.
    tolerance = {"motion_blur": 0.15, "fog": 0.15, "spatter": 0.3}.get(name, 0.03)
    assert ours == pytest.approx(other, rel=tolerance)


@pytest.mark.parametrize("angle_deg", [-45.0, 10.0, -135.0])
def test_line_blur_agrees(oracle, angle_deg):
    image = at_published_size(64)[:1]
    expected = oracle.corruptions._motion_blur(
        image[0].permute(1, 2, 0).numpy(), radius=12, sigma=5, angle=angle_deg
    )
    ours = blur.line_blur(image, 12, 5, torch.tensor([angle_deg]))[0].permute(1, 2, 0)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_fractal_agrees_on_the_same_draws(oracle, monkeypatch):
    draws = 2 * torch.rand(1, 32 * 32, generator=torch.Generator().manual_seed(0)) - 1
    stream = iter(draws[0].tolist())

    def uniform(low, high, shape):
        return np.reshape([high * next(stream) for _ in range(shape[0] * shape[1])], shape)

    monkeypatch.setattr(np.random, "uniform", uniform)
    expected = oracle.corruptions.plasma_fractal(32, 1.7)
    np.testing.assert_allclose(plasma_fractal(draws, 1.7)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("sigma_px", "threshold"), [(4, 0.69), (3, 0.68), (2, 0.68), (1, 0.69)])
def test_water_agrees_with_opencv(oracle, sigma_px, threshold):
    cv2 = oracle.corruptions.cv2
    noise = torch.randn(2, 150, 170, generator=torch.Generator().manual_seed(0))
    liquid = blur.smooth(0.65 + 0.3 * noise, sigma_px).clamp(max=1)
    liquid = torch.where(liquid < threshold, 0, liquid)
    for levels, ours in zip((255 * liquid).byte().numpy(), weather.water(liquid), strict=True):
        edges = cv2.Canny(levels, *weather.CANNY_THRESHOLDS)
        distance = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5).clip(max=20)
        shade = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
        shade = cv2.filter2D(shade, cv2.CV_8U, np.array(weather.EMBOSS))
        expected = levels * cv2.blur(shade, (3, 3)).astype(np.float32)
        np.testing.assert_allclose(ours, expected / expected.max(), atol=1e-6)

"""Corruptions: published constants, independent formulas, seeds, range and strength."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage
from scipy.signal import convolve2d
from torch import Tensor

from vonenet.data import photograph
from vonenet.errors import InputError
from vonenet.robustness import CORRUPTIONS, corrupt
from vonenet.robustness.corruptions import constants_size

SEVERITIES = (1, 2, 3, 4, 5)
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise")
# Severities 1 and 5 at 224, 64 and 32 px: typed from the benchmark's generators a second time.
ENDS = {
    "gaussian_noise": ((0.08, 0.38), (0.04, 0.18), (0.04, 0.10)),
    "shot_noise": ((60, 3), (250, 15), (500, 50)),
    "impulse_noise": ((0.03, 0.27), (0.01, 0.14), (0.01, 0.07)),
    "gaussian_blur": ((1, 6), (0.5, 1.5), (0.4, 1)),
    "defocus_blur": (((3, 0.1), (10, 0.5)), ((0.5, 0.6), (3, 0.1)), ((0.3, 0.4), (1.5, 0.1))),
    "brightness": ((0.1, 0.5), (0.1, 0.5), (0.05, 0.3)),
    "contrast": ((0.4, 0.05), (0.4, 0.05), (0.75, 0.15)),
    "pixelate": ((0.6, 0.25), (0.9, 0.5), (0.95, 0.65)),
    "jpeg_compression": ((25, 7), (65, 25), (80, 40)),
}


@pytest.fixture(scope="module")
def photographs() -> dict[int, Tensor]:
    """Two real images in whole grey levels, at each size that has constants of its own."""
    images = torch.stack([photograph(name)[:, 20:276, 20:276] for name in ("chelsea", "coffee")])
    sizes = {224: 1, 64: 4, 32: 8}
    pooled = {
        size: torch.nn.functional.avg_pool2d(images, factor)[..., :size, :size]
        for size, factor in sizes.items()
    }
    return {size: (255 * image).round() / 255 for size, image in pooled.items()}


def channels_last(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).double().numpy()


def test_table_has_the_published_constants() -> None:
    assert set(CORRUPTIONS) == set(ENDS)
    for name, ends in ENDS.items():
        constants = CORRUPTIONS[name].constants
        assert list(constants) == [224, 64, 32]
        assert tuple((values[0], values[4]) for values in constants.values()) == ends
        assert all(len(values) == 5 for values in constants.values())


@pytest.mark.parametrize(
    ("shape", "size"),
    [((28, 28), 32), ((300, 47), 32), ((48, 48), 64), ((127, 500), 64), ((128, 128), 224)],
)
def test_constants_go_by_the_shorter_side(shape: tuple[int, int], size: int) -> None:
    images = torch.rand(1, 1, *shape)
    amount = {32: 0.05, 64: 0.1, 224: 0.1}[size]
    assert constants_size(shape) == size
    torch.testing.assert_close(corrupt(images, "brightness", 1), (images + amount).clamp(max=1))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 31), (3, 65, 64), (1, 130, 128)])
def test_shape_range_and_size(name: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, *shape, generator=generator)
    images[1], images[2] = 0, 1  # black and white
    for severity in (1, 5):
        changed = corrupt(images, name, severity)
        assert changed.shape == images.shape
        assert changed.dtype == torch.float32
        assert changed.isfinite().all()
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert not torch.equal(changed[0], images[0])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_neither_batch_nor_global_state_matters(name: str) -> None:
    images = torch.rand(5, 3, 32, 32)
    state = torch.get_rng_state()
    whole = corrupt(images, name, 3, seed=7)
    parts = [
        corrupt(images[:2], name, 3, seed=7),
        corrupt(images[2:], name, 3, seed=7, first_index=2),
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    if name in RANDOM:
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RANDOM)
def test_draws_differ_between_seeds_and_images(name: str) -> None:
    images = torch.full((2, 1, 32, 32), 0.5)
    first = corrupt(images, name, 3, seed=0)
    assert not torch.equal(first, corrupt(images, name, 3, seed=1))
    assert not torch.equal(first[0], first[1])


def test_gaussian_draws_differ_between_severities() -> None:
    images = torch.full((1, 1, 32, 32), 0.5)
    noise = [corrupt(images, "gaussian_noise", s).flatten() - 0.5 for s in (1, 2)]
    assert torch.corrcoef(torch.stack(noise))[0, 1].abs() < 0.1


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_grows_with_severity(name: str, size: int, photographs: dict[int, Tensor]) -> None:
    images = photographs[size]
    strengths = [float((corrupt(images, name, s) - images).abs().mean()) for s in SEVERITIES]
    assert strengths == sorted(strengths)
    assert strengths[4] > 1.3 * strengths[0]


# --- against independent formulas --------------------------------------------------------------


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_noise_has_its_std(severity: int) -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    noise = corrupt(grey, "gaussian_noise", severity) - 0.5
    std = CORRUPTIONS["gaussian_noise"].constants[64][severity - 1]
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    # 68.27 % of a normal distribution lies within one std, clipped tails or not.
    assert float(noise.abs().quantile(0.6827)) == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_is_poisson(severity: int) -> None:
    """Counts are whole and their variance is their mean."""
    photons = CORRUPTIONS["shot_noise"].constants[32][severity - 1]
    counts = corrupt(torch.full((20, 3, 32, 32), 0.4), "shot_noise", severity) * photons
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert float(counts.mean()) == pytest.approx(0.4 * photons, rel=0.01)
    assert float(counts.var()) == pytest.approx(0.4 * photons, rel=0.05)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_hits_its_share(severity: int) -> None:
    amount = CORRUPTIONS["impulse_noise"].constants[224][severity - 1]
    changed = corrupt(torch.full((1, 3, 224, 224), 0.5), "impulse_noise", severity)
    black, white = (changed == 0).float(), (changed == 1).float()
    assert float(black.mean() + white.mean()) == pytest.approx(amount, rel=0.03)
    assert float(black.mean() / white.mean()) == pytest.approx(1, abs=0.06)
    assert ((changed == 0.5) | (black + white > 0)).all()
    one_colour = white.sum(dim=1) == 1  # colours are hit apart
    assert one_colour.float().mean() > 0.8 * 3 * amount / 2 * (1 - amount) ** 2


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_agrees_with_scipy(
    severity: int, size: int, photographs: dict[int, Tensor]
) -> None:
    image = photographs[size][:1]
    sigma = CORRUPTIONS["gaussian_blur"].constants[size][severity - 1]
    expected = ndimage.gaussian_filter(
        image[0].double().numpy(), (0, sigma, sigma), mode="nearest", truncate=4.0
    )
    ours = corrupt(image, "gaussian_blur", severity)[0]
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_agrees_with_scipy(
    severity: int, size: int, photographs: dict[int, Tensor]
) -> None:
    image = photographs[size][:1]
    radius, sigma = CORRUPTIONS["defocus_blur"].constants[size][severity - 1]
    reach, window = (8, 3) if radius <= 8 else (radius, 5)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (np.hypot(x, y) <= radius) / np.sum(np.hypot(x, y) <= radius)
    u = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * sigma**2))
    window_2d = np.outer(u, u) / u.sum() ** 2
    mirrored = np.pad(disk, window // 2, mode="reflect")
    kernel = convolve2d(mirrored, window_2d, mode="valid")
    expected = ndimage.correlate(image[0].double().numpy(), kernel[None], mode="mirror")
    ours = corrupt(image, "defocus_blur", severity)[0]
    np.testing.assert_allclose(ours, expected.clip(0, 1), atol=2e-6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_agrees_with_hsv(severity: int, photographs: dict[int, Tensor]) -> None:
    image = photographs[64][:1].clone()
    image[..., :2, :2] = 0  # black has no hue
    hsv = rgb_to_hsv(channels_last(image[0]))
    hsv[..., 2] = (hsv[..., 2] + CORRUPTIONS["brightness"].constants[64][severity - 1]).clip(0, 1)
    ours = corrupt(image, "brightness", severity)[0]
    np.testing.assert_allclose(channels_last(ours), hsv_to_rgb(hsv), atol=2e-6)


def test_contrast_keeps_each_channels_mean(photographs: dict[int, Tensor]) -> None:
    image = channels_last(photographs[32][0])
    means = image.mean(axis=(0, 1))
    ours = corrupt(photographs[32], "contrast", 5)[0]
    np.testing.assert_allclose(channels_last(ours), (image - means) * 0.15 + means, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (224, 224), (37, 50)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_agrees_with_pillow(severity: int, height: int, width: int) -> None:
    """Within Pillow's rounding to whole grey levels, once on the way down and once up."""
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = {32: 32, 37: 32, 64: 64, 224: 224}[height]
    share = CORRUPTIONS["pixelate"].constants[size][severity - 1]
    small = Image.fromarray(levels).resize(
        (int(width * share), int(height * share)), Image.Resampling.BOX
    )
    expected = np.asarray(small.resize((width, height), Image.Resampling.BOX), float)
    image = torch.from_numpy(levels).permute(2, 0, 1)[None] / 255
    ours = channels_last(corrupt(image, "pixelate", severity)[0]) * 255
    assert np.abs(ours - expected).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_agrees_with_pillow(channels: int, photographs: dict[int, Tensor]) -> None:
    image = photographs[32][:1, :channels]
    levels = (channels_last(image[0]) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[..., 0] if channels == 1 else levels).save(file, "JPEG", quality=58)
    expected = np.asarray(Image.open(file)).reshape(levels.shape) / 255
    ours = corrupt(image, "jpeg_compression", 3)[0]
    np.testing.assert_allclose(channels_last(ours), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "severity", "images", "message"),
    [
        ("sepia", 1, torch.zeros(1, 3, 32, 32), "'sepia' is unknown; allowed: gaussian_noise"),
        ("contrast", 0, torch.zeros(1, 3, 32, 32), "severity=0 does not exist; allowed: 1 to 5"),
        ("contrast", 6, torch.zeros(1, 3, 32, 32), "severity=6"),
        ("contrast", 1, torch.full((1, 3, 32, 32), 2.0), r"allowed: \[0, 1\]"),
        ("contrast", 1, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
    ],
)
def test_impossible_values_are_refused(
    name: str, severity: int, images: Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        corrupt(images, name, severity)

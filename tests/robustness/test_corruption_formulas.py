"""Corruptions against formulas written a second time, with numpy and scipy."""

import importlib.util
import io
import math
from itertools import product

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage
from scipy.signal import convolve2d

from tests.robustness.photographs import at_published_size
from vonenet.cli.evaluate import conditions_of
from vonenet.data import ImageArrays
from vonenet.errors import InputError
from vonenet.robustness import CORRUPTIONS, Corruption, corrupt
from vonenet.robustness.corruptions import blur, digital, weather
from vonenet.robustness.corruptions.weather import plasma_fractal
from vonenet.training.augment import TrainingImages
from vonenet.training.config import AugmentationRecipe

SEVERITIES = (1, 2, 3, 4, 5)


def channels_last(image):
    return image.permute(1, 2, 0).double().numpy()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "level", "scale"), [("gaussian_noise", 0.5, 1.0), ("speckle_noise", 0.2, 0.2)]
)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_and_speckle_noise_have_their_std(name, level, scale, severity):
    grey = torch.full((4, 3, 64, 64), level)
    noise = (corrupt(grey, name, severity) - level) / scale
    std = CORRUPTIONS[name].constants[64][severity - 1]
    assert name == "speckle_noise" or float(noise.mean()) == pytest.approx(0, abs=0.005)
    # 68.27 % of a normal distribution lies within one std, clipped tails or not.
    assert float(noise.abs().quantile(0.6827)) == pytest.approx(std, rel=0.02)
    on_black = corrupt(torch.zeros(1, 3, 32, 32), name, severity)
    assert bool(on_black.any()) == (name == "gaussian_noise")


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_is_poisson(severity):
    """Counts are whole and their variance is their mean."""
    photons = CORRUPTIONS["shot_noise"].constants[32][severity - 1]
    counts = corrupt(torch.full((20, 3, 32, 32), 0.4), "shot_noise", severity) * photons
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)
    assert float(counts.mean()) == pytest.approx(0.4 * photons, rel=0.01)
    assert float(counts.var()) == pytest.approx(0.4 * photons, rel=0.05)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_hits_its_share(severity):
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
def test_gaussian_blur_agrees_with_scipy(severity, size):
    image = at_published_size(size)[:1]
    sigma = CORRUPTIONS["gaussian_blur"].constants[size][severity - 1]
    expected = ndimage.gaussian_filter(
        image[0].double().numpy(), (0, sigma, sigma), mode="nearest", truncate=4.0
    )
    ours = corrupt(image, "gaussian_blur", severity)[0]
    np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_agrees_with_scipy(severity, size):
    image = at_published_size(size)[:1]
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


@pytest.mark.parametrize(("name", "tolerance"), [("brightness", 2e-6), ("saturate", 1e-5)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_agree_with_hsv(name, tolerance, severity):
    image = at_published_size(64)[:1].clone()
    image[..., :2, :2] = 0.6  # grey has red's hue
    image[..., 2:4, :2] = 0  # black has none
    hsv = rgb_to_hsv(channels_last(image[0]))
    constant = CORRUPTIONS[name].constants[64][severity - 1]
    factor, added = (1, constant) if name == "brightness" else constant
    part = 2 if name == "brightness" else 1
    hsv[..., part] = (factor * hsv[..., part] + added).clip(0, 1)
    ours = corrupt(image, name, severity)[0]
    np.testing.assert_allclose(channels_last(ours), hsv_to_rgb(hsv), atol=tolerance)


def test_contrast_keeps_each_channels_mean():
    image = channels_last(at_published_size(32)[0])
    means = image.mean(axis=(0, 1))
    ours = corrupt(at_published_size(32), "contrast", 5)[0]
    np.testing.assert_allclose(channels_last(ours), (image - means) * 0.15 + means, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (224, 224), (37, 50)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_agrees_with_pillow(severity, height, width):
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
def test_jpeg_agrees_with_pillow(channels):
    image = at_published_size(32)[:1, :channels]
    levels = (channels_last(image[0]) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[..., 0] if channels == 1 else levels).save(file, "JPEG", quality=58)
    expected = np.asarray(Image.open(file)).reshape(levels.shape) / 255
    ours = corrupt(image, "jpeg_compression", 3)[0]
    np.testing.assert_allclose(channels_last(ours), expected, atol=1e-6)


@pytest.mark.parametrize("angle_deg", [-45.0, -10.0, 0.0, 44.0, -90.0, -135.0])
def test_line_blur_is_a_sum_of_shifted_images(angle_deg):
    image = at_published_size(64)[:1, :, :50]
    radius, sigma = 10, 2.5
    padded = np.pad(image[0].double().numpy(), ((0, 0), (20, 20), (20, 20)), mode="edge")
    weights = np.exp(-(np.arange(21) ** 2) / (2 * sigma**2))
    expected = np.zeros(image.shape[1:])
    for step, weight in enumerate(weights / weights.sum()):
        down = math.ceil(step * math.sin(math.radians(angle_deg)) - 0.5)
        right = math.ceil(step * math.cos(math.radians(angle_deg)) - 0.5)
        expected += weight * padded[:, 20 + down : 70 + down, 20 + right : 84 + right]
    ours = blur.line_blur(image, radius, sigma, torch.tensor([angle_deg]))
    np.testing.assert_allclose(ours[0], expected, atol=2e-6)


def test_motion_blur_draws_its_angle_from_45_degrees_either_way():
    """A bright point is drawn out towards one side, never more up or down than across."""
    point = torch.zeros(1, 1, 64, 64)
    point[..., 32, 32] = 1
    images = point.expand(40, -1, -1, -1)
    streaks = blur.motion_blur(images, (10, 20), [generator(seed) for seed in range(40)])
    y, x = torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")
    down, across = (streaks[:, 0] * y).sum((1, 2)), (streaks[:, 0] * x).sum((1, 2))
    drawn = torch.stack([90 * torch.rand((), generator=generator(seed)) for seed in range(40)]) - 45
    assert (across < 0).all()
    torch.testing.assert_close(torch.rad2deg(torch.atan(down / across)), drawn, atol=3, rtol=0)


@pytest.mark.parametrize("factor", [1.01, 1.11, 1.3, 2.5, 4.5])
@pytest.mark.parametrize("shape", [(64, 64), (50, 63)])
def test_centre_zoom_agrees_with_scipy(factor, shape):
    height, width = shape
    image = at_published_size(64)[:1, :, :height, :width]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = image[0, :, top : top + rows, left : left + columns].double().numpy()
    zoomed = ndimage.zoom(part, (1, factor, factor), order=1)
    top, left = (zoomed.shape[1] - height) // 2, (zoomed.shape[2] - width) // 2
    expected = zoomed[:, top : top + height, left : left + width]
    np.testing.assert_allclose(blur.centre_zoom(image, factor)[0], expected, atol=5e-5)


@pytest.mark.parametrize(("severity", "zooms"), [(1, 12), (2, 16), (3, 11), (4, 13), (5, 11)])
def test_zoom_blur_is_the_mean_of_as_many_zooms_as_published(severity, zooms):
    image = at_published_size(224)[:1, :1]
    step = CORRUPTIONS["zoom_blur"].constants[224][severity - 1][1]
    layers = [image] + [blur.centre_zoom(image, 1 + step * k) for k in range(zooms)]
    ours = corrupt(image, "zoom_blur", severity)
    torch.testing.assert_close(ours, torch.stack(layers).mean(dim=0), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("reach", "passes"), [(1, 2), (2, 3), (4, 1)])
def test_glass_shuffle_is_the_sequential_one(reach, passes):
    """Pixels in raster order from the bottom right, each taking its neighbour's present colour."""
    height, width = 30, 37
    image = torch.arange(height * width).reshape(1, 1, height, width) / 255 / 8
    offsets = torch.randint(
        -reach, reach, (passes, 2, height - 2 * reach, width - 2 * reach), generator=generator()
    )
    expected = (255 * image[0, 0]).floor().numpy() / 255
    for k in range(passes):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                down, right = offsets[k, :, row - reach - 1, column - reach - 1]
                expected[row, column] = expected[row + down, column + right]
    ours = blur.glass_blur(image, (0.1, reach, passes), [generator()])  # 0.1 px blurs nothing
    np.testing.assert_allclose(ours[0, 0], expected, atol=1e-6)


def test_plasma_fractal_is_diamond_square():
    """Every cell the mean of its four neighbours on the torus plus its step."""
    side, decay = 16, 1.7
    draws = torch.rand(1, side * side, generator=generator()).double() * 2 - 1
    steps = iter(draws[0].tolist())
    cells = np.zeros((side, side))
    step, size = side, 1.0
    while step > 1:
        half = step // 2
        diagonal = [(-half, -half), (-half, half), (half, -half), (half, half)]
        straight = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for start, near in [((half, half), diagonal), ((0, half), straight), ((half, 0), straight)]:
            grid = product(range(start[0], side, step), range(start[1], side, step))
            for y, x in grid:
                mean = np.mean([cells[(y + dy) % side, (x + dx) % side] for dy, dx in near])
                cells[y, x] = mean + size * next(steps)
        step, size = half, size / decay**2
    expected = (cells - cells.min()) / (cells.max() - cells.min())
    np.testing.assert_allclose(plasma_fractal(draws, decay)[0], expected, atol=1e-9)


def test_fog_adds_a_fractal_and_keeps_the_brightest():
    images = at_published_size(64)[:, :, :40]
    seeds = [generator(3), generator(4)]
    draws = torch.stack([torch.rand(64 * 64, generator=generator(seed)) for seed in (3, 4)])
    mist = plasma_fractal(2 * draws - 1, 2.5)[:, None, :40]
    most = images.flatten(1).max(dim=1).values.reshape(2, 1, 1, 1)
    expected = (images + 0.8 * mist) * most / (most + 0.8)
    torch.testing.assert_close(weather.fog(images, (0.8, 2.5), seeds), expected)


def test_snow_is_the_definition():
    mean, std, zoom, threshold, radius, sigma, weight = constant = (0.3, 0.4, 2, 0.6, 6, 3, 0.7)
    image = at_published_size(64)[:1]
    draws = generator(7)
    noise = mean + std * torch.randn(1, 64, 64, generator=draws)
    angle_deg = -135 + 90 * torch.rand((), generator=draws)
    layer = ndimage.zoom(noise[0, 16:48, 16:48].double().numpy(), zoom, order=1)
    layer = torch.from_numpy(np.where(layer < threshold, 0, layer).clip(0, 1))[None, None]
    streaks = blur.line_blur(layer, radius, sigma, angle_deg[None])[0, 0].numpy()
    scene = channels_last(image[0])
    luma = (scene @ [0.299, 0.587, 0.114])[..., None]
    scene = weight * scene + (1 - weight) * np.maximum(scene, 1.5 * luma + 0.5)
    expected = scene + (streaks + streaks[::-1, ::-1])[..., None]
    ours = weather.snow(image, constant, [generator(7)])[0]
    np.testing.assert_allclose(channels_last(ours), expected, atol=5e-5)


@pytest.fixture
def frost_folder(tmp_path):
    """Five textures whose every pixel says which it is, and where."""
    for index, name in enumerate(weather.FROST_FILES):
        y, x = np.mgrid[:60, :70]
        levels = np.stack([np.full_like(x, 40 * index), 3 * y, 3 * x], axis=-1)
        picture = Image.fromarray(levels.astype(np.uint8))
        picture.save(tmp_path / name, **({"quality": 95} if name.endswith("jpg") else {}))
    return tmp_path


def test_frost_adds_crops_of_all_textures(frost_folder):
    textures = weather.frost_textures(frost_folder)
    black = torch.zeros(60, 3, 32, 40)
    seeds = [generator(seed) for seed in range(60)]
    crops = weather.frost(black, (1, 0.5, 1.0), seeds, textures=textures) * 255 * 2
    which = (crops[:, 0].mean((1, 2)) / 40).round()
    assert which.unique().tolist() == [0, 1, 2, 3, 4]
    sharp = crops[which < 3]  # the others have been through JPEG
    rows, columns = sharp[:, 1] / 3, sharp[:, 2] / 3
    torch.testing.assert_close(rows - rows[:, :1, :1], torch.arange(32.0)[:, None].expand_as(rows))
    torch.testing.assert_close(columns.diff(dim=2), torch.ones(len(sharp), 32, 39))
    assert rows[:, 0, 0].unique().numel() > 5
    assert rows[:, 0, 0].max() <= 60 - 32
    assert columns[:, 0, 0].max() <= 70 - 40


@pytest.mark.parametrize(("scale", "size"), [(0.7, (32, 40)), (0.2, (33, 45)), (1.0, (90, 35))])
def test_frost_scales_textures_to_cover_the_image(scale, size, frost_folder):
    textures = weather.frost_textures(frost_folder)
    black, seeds = torch.zeros(8, 3, *size), [generator(seed) for seed in range(8)]
    crops = weather.frost(black, (1, 1, scale), seeds, textures=textures)
    assert crops.shape == (8, 3, *size)
    scale = max(scale, size[0] / 60, size[1] / 70)
    slope = float(crops[:, 2, 4:-4, 4:-4].diff(dim=2).mean()) * 255 / 3
    assert slope == pytest.approx(1 / scale, rel=0.05)


def test_frost_rows_say_which_textures(frost_folder):
    image = at_published_size(64)
    from_folder = Corruption("frost", 3, frost_folder)
    columns = from_folder.columns((64, 64))
    assert columns["textures"].startswith(f"folder {frost_folder} (")
    shown = from_folder.perturb(torch.nn.Identity(), image, torch.zeros(2), seed=0, first_index=0)
    assert torch.equal(shown, corrupt(image, "frost", 3, frost_folder=frost_folder))
    assert "textures" not in Corruption("fog", 3).columns((64, 64))
    (frost_folder / weather.FROST_FILES[0]).write_bytes(b"another picture")
    assert from_folder.columns((64, 64)) != columns


def test_frost_without_its_textures_is_refused(frost_folder, monkeypatch):
    """With the remedy, and before anything is measured or trained; a folder will do."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: None if name == "imagecorruptions" else find_spec(name, *args),
    )
    image = at_published_size(32)
    data = ImageArrays(image, torch.tensor([0, 1]), ("a", "b"), "two")
    recipe = AugmentationRecipe(corruptions=("contrast", "frost"), corruption_share=0.5)
    remedy = r"frost needs .*pip install 'vonenet\[corruptions\]'.*frost_folder.*frost_procedural"
    for refused in (
        lambda: corrupt(image, "frost", 3),
        lambda: Corruption("frost", 3),
        lambda: conditions_of("paper"),
        lambda: TrainingImages(data, recipe, 32, seed=0),
    ):
        with pytest.raises(InputError, match=remedy):
            refused()
    corrupt(image, "frost", 3, frost_folder=frost_folder)
    (frost_folder / "frost4.jpg").unlink()
    with pytest.raises(InputError, match=r"lacks frost4\.jpg"):
        corrupt(image, "frost", 1, frost_folder=frost_folder)


def test_procedural_frost_is_asked_for_by_its_own_name_and_has_the_photographs_colours():
    image, condition = at_published_size(32), Corruption("frost_procedural", 3)
    assert condition.columns((32, 32))["category"] == "extra"  # not in the published mean
    assert "frost_procedural" not in CORRUPTIONS  # so in no suite
    shown = condition.perturb(torch.nn.Identity(), image, torch.zeros(2), seed=0, first_index=0)
    assert float((shown - image).abs().mean()) > 0.05
    assert not torch.equal(shown[0] - image[0], shown[1] - image[1])
    pictures = weather.procedural_textures()
    means = torch.stack([picture.mean((1, 2)) for picture in pictures])
    torch.testing.assert_close(means, torch.tensor(weather.FROST_MEAN), atol=0.01, rtol=0)
    assert min(float(picture.std(dim=(1, 2)).min()) for picture in pictures) > 0.07


@pytest.mark.parametrize("shape", [(64, 64), (40, 55)])
@pytest.mark.parametrize("constant", [(0, 0, 5.12), (3.2, 19.2, 3.84), (10.24, 1.92, 1.28)])
def test_elastic_transform_is_the_benchmarks(shape, constant):
    alpha, sigma, affine = constant
    height, width = shape
    image = at_published_size(64)[:1, :, :height, :width]
    draws = generator(5)
    shifts = (2 * torch.rand(3, 2, generator=draws).double().numpy() - 1) * affine
    field = 2 * torch.rand(2, height, width, generator=draws).double().numpy() - 1
    third = min(shape) // 3
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * third + [width // 2, height // 2]
    back = np.linalg.solve(np.c_[corners + shifts, np.ones(3)], corners)
    y, x = np.mgrid[:height, :width]
    from_x, from_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], axis=-1) @ back, -1, 0)
    smooth = [ndimage.gaussian_filter(each, sigma, mode="reflect", truncate=3) for each in field]
    dx, dy = (alpha * each for each in smooth)
    ours = digital.elastic_transform(image, constant, [generator(5)])[0]
    for channel, plane in enumerate(image[0].double().numpy()):
        warped = ndimage.map_coordinates(plane, [from_y, from_x], order=1, mode="mirror")
        expected = ndimage.map_coordinates(warped, [y + dy, x + dx], order=1, mode="reflect")
        np.testing.assert_allclose(ours[channel], expected, atol=1e-4)


def test_chamfer_distance_is_the_shortest_path():
    """Of straight (1), diagonal (1.4) and knight's (2.1969) steps, over all edge pixels."""
    edges = torch.rand(2, 30, 34, generator=generator()).numpy() < 0.01
    y, x = np.mgrid[:30, :34]
    for image, ours in zip(edges, weather.chamfer_distance(edges), strict=True):
        expected = np.full(image.shape, np.inf)
        for row, column in np.argwhere(image):
            less, more = np.sort([abs(y - row), abs(x - column)], axis=0)
            few = 2.1969 * less + (more - 2 * less)
            many = 2.1969 * (more - less) + 1.4 * (2 * less - more)
            expected = np.minimum(expected, np.where(more >= 2 * less, few, many))
        np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_mud_covers_and_water_adds():
    images = torch.full((2, 3, 64, 64), 0.5)
    muddy = weather.spatter(images, (0.65, 0.3, 1, 0.69, 1.0, 1), [generator(1), generator(2)])
    mud = torch.tensor([63, 42, 20]).reshape(3, 1, 1) / 255
    # What is not clean is a mixture with at least 80 % of mud.
    share = (muddy[:, 0] - 0.5) / (mud[0] - 0.5)
    assert ((share.abs() < 1e-6) | (share > 0.8 - 1e-6)).all()
    torch.testing.assert_close(muddy, images + share[:, None] * (mud - 0.5))
    assert 0.02 < float((share > 0).float().mean()) < 0.5
    wet = weather.spatter(images, (0.65, 0.3, 2, 0.68, 0.5, 0), [generator(1), generator(2)]) - 0.5
    assert float(wet[:, 1].amax((1, 2)).min()) == pytest.approx(0.5 * 238 / 255, abs=1e-4)
    torch.testing.assert_close(wet[:, 0] / 175, wet[:, 2] / 238)
    assert wet.min() >= 0


def test_an_image_without_a_drop_stays_dry():
    images = at_published_size(32)
    assert torch.equal(weather.spatter(images, (0, 0.01, 1, 0.9, 1, 0), [generator()] * 2), images)

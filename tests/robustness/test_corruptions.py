"""Corruptions: published constants, seeds, range, strength and refusals."""

from collections import Counter

import pytest
import torch

from tests.robustness.photographs import at_published_size
from vonenet.errors import InputError
from vonenet.robustness import CORRUPTIONS, corrupt
from vonenet.robustness.corruptions import constants_size

SEVERITIES = (1, 2, 3, 4, 5)
DETERMINISTIC = (
    *("defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "pixelate"),
    *("jpeg_compression", "saturate"),
)
RANDOM = [name for name in CORRUPTIONS if name not in DETERMINISTIC]
# Where the published constants do not go one way from severity to severity
NOT_GROWING = {
    **dict.fromkeys(("glass_blur", "frost", "elastic_transform", "saturate"), (224, 64, 32)),
    "snow": (224,),
    "fog": (224,),
    "spatter": (64, 32),
}
GROWING = [
    (name, size)
    for name in CORRUPTIONS
    for size in (224, 64, 32)
    if size not in NOT_GROWING.get(name, ())
]
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
    "speckle_noise": ((0.15, 0.6), (0.15, 0.35), (0.06, 0.2)),
    "glass_blur": (
        *(((0.7, 1, 2), (1.5, 4, 2)), ((0.1, 1, 1), (0.9, 2, 2)), ((0.05, 1, 1), (0.4, 1, 2))),
    ),
    "motion_blur": (((10, 3), (20, 15)), ((10, 1), (12, 3)), ((6, 1), (9, 2.5))),
    "zoom_blur": (((1.11, 0.01), (1.31, 0.03)), *[((1.06, 0.01), (1.26, 0.01))] * 2),
    "fog": (((1.5, 2), (3, 1.4)), ((0.4, 3), (2, 1.75)), ((0.2, 3), (1.5, 1.75))),
    "frost": (
        ((1, 0.4, 1), (0.6, 0.75, 1)),
        ((1, 0.3, 0.3), (0.7, 0.55, 0.3)),
        ((1, 0.2, 0.2), (0.75, 0.45, 0.2)),
    ),
    "snow": (
        ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        ((0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
        ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
    ),
    "spatter": (
        ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.67, 0.4, 1, 0.65, 1.5, 1)),
        ((0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.5, 0.67, 0.6, 1)),
        ((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.5, 0.68, 0.6, 1)),
    ),
    "saturate": (((0.3, 0), (20, 0.2)), ((0.3, 0), (30, 0.2)), ((0.3, 0), (2.5, 0.2))),
    "elastic_transform": (
        ((488, 170.8, 24.4), (29.28, 2.44, 4.88)),
        ((0, 0, 5.12), (10.24, 1.92, 1.28)),
        ((0, 0, 2.56), (3.2, 0.96, 0.96)),
    ),
}


def test_table_has_the_published_constants():
    assert set(CORRUPTIONS) == set(ENDS)
    for name, ends in ENDS.items():
        constants = CORRUPTIONS[name].constants
        assert list(constants) == [224, 64, 32]
        for values, (first, last) in zip(constants.values(), ends, strict=True):
            assert len(values) == 5
            assert values[0] == pytest.approx(first)
            assert values[4] == pytest.approx(last)


def test_categories_are_those_of_imagenet_c():
    categories = Counter(kind.category for kind in CORRUPTIONS.values())
    assert categories == {"noise": 3, "blur": 4, "weather": 4, "digital": 4, "extra": 4}


@pytest.mark.parametrize(
    ("shape", "size"),
    [((28, 28), 32), ((300, 47), 32), ((48, 48), 64), ((127, 500), 64), ((128, 128), 224)],
)
def test_constants_go_by_the_shorter_side(shape, size):
    images = torch.rand(1, 1, *shape)
    amount = {32: 0.05, 64: 0.1, 224: 0.1}[size]
    assert constants_size(shape) == size
    torch.testing.assert_close(corrupt(images, "brightness", 1), (images + amount).clamp(max=1))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 31), (3, 65, 64), (1, 130, 128)])
def test_shape_range_and_size(name, shape):
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
        unchanged = name == "saturate" and shape[0] == 1  # no colour, no saturation
        assert torch.equal(changed[0], images[0]) == unchanged


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("side", [32, 150])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_neither_batch_nor_threads_nor_global_state_matter(name, side, threads):
    images = torch.rand(4, 3, side, side)
    state = torch.get_rng_state()
    threads(2)
    whole = corrupt(images, name, 2, seed=7)
    threads(1)
    parts = [corrupt(images[i:j], name, 2, seed=7, first_index=i) for i, j in ((0, 1), (1, 4))]
    # The last bit of an FFT depends on how many are done at a time; nothing is decided by it.
    rounding = 3e-7 if name in ("defocus_blur", "motion_blur", "snow") else 0
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=rounding)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_device_changes_no_more_than_it_rounds(name):
    images = at_published_size(64)
    there = corrupt(images.cuda(), name, 3).cpu()
    # Where a level is rounded on the way, or a JPEG written, a pixel may fall on the other side.
    apart = (there - corrupt(images, name, 3)).abs()
    assert apart.quantile(0.99) < 1e-4
    assert apart.max() < 0.1


@pytest.mark.parametrize("name", RANDOM)
def test_draws_differ_between_seeds_and_images(name):
    images = torch.rand(1, 3, 64, 64).expand(2, -1, -1, -1)
    first = corrupt(images, name, 3, seed=0)
    assert not torch.equal(first, corrupt(images, name, 3, seed=1))
    assert not torch.equal(first[0], first[1])


def test_gaussian_draws_differ_between_severities():
    images = torch.full((1, 1, 32, 32), 0.5)
    noise = [corrupt(images, "gaussian_noise", s).flatten() - 0.5 for s in (1, 2)]
    assert torch.corrcoef(torch.stack(noise))[0, 1].abs() < 0.1


@pytest.mark.parametrize(("name", "size"), GROWING)
def test_strength_grows_with_severity(name, size):
    images = at_published_size(size)
    strengths = [float((corrupt(images, name, s) - images).abs().mean()) for s in SEVERITIES]
    assert strengths == sorted(strengths)
    assert strengths[4] > 1.3 * strengths[0]


@pytest.mark.parametrize(
    ("name", "severity", "images", "message"),
    [
        ("sepia", 1, torch.zeros(1, 3, 32, 32), "'sepia' is unknown; allowed: gaussian_noise"),
        ("contrast", 0, torch.zeros(1, 3, 32, 32), "severity=0 does not exist; allowed: 1 to 5"),
        ("contrast", 6, torch.zeros(1, 3, 32, 32), "severity=6"),
        ("contrast", 1, torch.full((1, 3, 32, 32), 2.0), r"allowed: \[0, 1\]"),
        ("contrast", 1, torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
        ("contrast", 1, torch.zeros(1, 3, 27, 64), r"from 28 px a side"),
        ("contrast", 1, torch.zeros(1, 2, 32, 32), r"\(1, 2, 32, 32\); allowed: \(B, 1 or 3"),
    ],
)
def test_impossible_values_are_refused(name, severity, images, message):
    with pytest.raises(InputError, match=message):
        corrupt(images, name, severity)

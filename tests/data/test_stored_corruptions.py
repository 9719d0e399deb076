"""open_stored_corruption: both published layouts, images as they are, clear refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vonenet.data import open_stored_corruption
from vonenet.errors import InputError


def noise(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def imagenet_c(tmp_path: Path) -> Path:
    """Three images of 40 x 40 px; PNG bytes under the published suffix keep their levels exact."""
    for seed, path in enumerate(["n02/b.JPEG", "n01/a.JPEG", "n02/a.JPEG"]):
        file = tmp_path / "fog" / "3" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(40, 40, seed)).save(file, "PNG")
    return tmp_path


@pytest.fixture
def cifar10_c(tmp_path: Path) -> Path:
    """Five severities of four images, each image's level its number."""
    images = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 32, 32, 3))
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", np.tile(np.array([1, 0, 2, 1], dtype=np.uint8), 5))
    return tmp_path


def test_folders_are_read_without_resizing(imagenet_c: Path) -> None:
    data = open_stored_corruption(imagenet_c, "fog", 3)
    assert data.classes == ("n01", "n02")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.name == f"{imagenet_c}/fog/3 40px"
    pixels, label = data[2]
    np.testing.assert_array_equal((255 * pixels).round().permute(1, 2, 0), noise(40, 40, 0))
    assert label == 1
    grey = open_stored_corruption(imagenet_c, "fog", 3, in_chans=1)
    assert grey[0][0].shape == (1, 40, 40)


def test_subsets_of_folders_keep_name_and_labels(imagenet_c: Path) -> None:
    data = open_stored_corruption(imagenet_c, "fog", 3)
    subset = data.subset(2)
    assert subset.name == data.name
    assert subset.labels.tolist() == [0, 1]
    assert torch.equal(subset[1][0], data[1][0])


def test_images_of_another_size_are_refused_not_resized(imagenet_c: Path) -> None:
    Image.fromarray(noise(40, 44, 9)).save(imagenet_c / "fog" / "3" / "n02" / "c.JPEG", "PNG")
    data = open_stored_corruption(imagenet_c, "fog", 3)
    with pytest.raises(InputError, match=r"c\.JPEG is 40x44px; .* all must be 40px"):
        data[3]


def test_arrays_hold_one_severity_after_the_other(cifar10_c: Path) -> None:
    for severity in (1, 4, 5):
        data = open_stored_corruption(cifar10_c, "fog", severity)
        assert data.name == f"{cifar10_c}/fog/{severity} 32px"
        assert data.labels.tolist() == [1, 0, 2, 1]
        assert len(data.classes) == 3
        levels = [float(255 * data[index][0].mean()) for index in range(4)]
        assert levels == pytest.approx([4 * (severity - 1) + k for k in range(4)])
        assert data[0][0].shape == (3, 32, 32)


def test_arrays_can_be_read_as_grey(cifar10_c: Path) -> None:
    pixels = open_stored_corruption(cifar10_c, "fog", 5, in_chans=1)[3][0]
    assert pixels.shape == (1, 32, 32)
    assert float(255 * pixels.mean()) == pytest.approx(19, abs=1)


@pytest.mark.parametrize(
    ("corruption", "severity", "in_chans", "message"),
    [
        ("fog", 0, 3, "severity=0 does not exist; allowed: 1 to 5"),
        ("fog", 1, 2, "in_chans=2"),
        ("snow", 1, 3, r"holds neither snow/1/ nor snow\.npy"),
    ],
)
def test_what_is_not_there_is_refused(
    corruption: str, severity: int, in_chans: int, message: str, cifar10_c: Path
) -> None:
    with pytest.raises(InputError, match=message):
        open_stored_corruption(cifar10_c, corruption, severity, in_chans=in_chans)


@pytest.mark.parametrize("shape", [(20, 32, 32), (18, 32, 32, 3), (20, 3, 32, 32)])
def test_other_arrays_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", np.zeros(shape, dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(shape[0], dtype=np.uint8))
    with pytest.raises(InputError, match=r"fog\.npy holds uint8 of shape .* needed: uint8"):
        open_stored_corruption(tmp_path, "fog", 1)

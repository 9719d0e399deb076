"""open_dataset: each kind of address, the evaluation crop, and clear refusals."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from tests.data.pictures import noise_image, noise_png, write_folder
from vonenet.data import open_dataset, open_stored_corruption
from vonenet.data.decoding import centre_crop
from vonenet.errors import InputError


def test_image_folder(tmp_path):
    files = ["dog/b.png", "cat/x/a.PNG", "cat/c.png", "cat/notes.txt"]
    write_folder(tmp_path, {path: noise_png(seed, 40, 32) for seed, path in enumerate(files)})
    data = open_dataset(str(tmp_path), image_size=32)
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.name == f"{tmp_path}/all 32px"
    pixels, label = data[2]
    expected = np.asarray(centre_crop(noise_image(40, 32, seed=0), 32)) / 255
    np.testing.assert_allclose(pixels.permute(1, 2, 0), expected, atol=1e-6)
    assert label == 1


@pytest.mark.parametrize(
    ("height", "width", "resized", "box"),
    [
        (300, 450, (384, 256), (80, 16, 304, 240)),
        (450, 300, (256, 384), (16, 80, 240, 304)),
        (128, 128, (256, 256), (16, 16, 240, 240)),
    ],
)
def test_evaluation_crop(height, width, resized, box):
    """Shorter side to 256, bilinear, then the central 224: the same with Pillow, by hand."""
    image = noise_image(height, width)
    expected = image.resize(resized, Image.Resampling.BILINEAR).crop(box)
    np.testing.assert_array_equal(np.asarray(centre_crop(image, 224)), np.asarray(expected))


def test_images_of_the_right_size_are_left_alone():
    image = noise_image(224, 224)
    assert centre_crop(image, 224) is image
    assert centre_crop(noise_image(224, 230), 224).size == (224, 224)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (3, 2000)])
def test_strips_are_cropped_before_they_become_gigabytes(size, monkeypatch):
    """A strip of 1 x 100,000 px asked for 26 GB; its middle is what is seen of it."""
    resize, seen = functional.resize, []
    monkeypatch.setattr(functional, "resize", lambda i, s: resize(seen.append(i.size) or i, s))
    image = Image.effect_noise((2000, 3), 64).resize(size) if size[1] > 3 else noise_image(*size)
    levels = np.asarray(centre_crop(image, 32)).astype(int)
    assert levels.shape[:2] == (32, 32)
    assert max(seen[0]) <= 65 * min(size)
    if max(size) < 100_000:  # beside the whole of it, resized and then cropped
        scale = 37 / min(size)
        whole = image.resize([round(side * scale) for side in image.size], 2)
        middle = [(side - 32) // 2 for side in whole.size]
        expected = whole.crop((*middle, middle[0] + 32, middle[1] + 32))
        assert np.abs(levels - np.asarray(expected).astype(int)).mean() < 3


def test_unknown_addresses_are_refused(tmp_path):
    with pytest.raises(InputError, match="no data at 'cifar11'; allowed: 'embedded'"):
        open_dataset("cifar11", image_size=32)
    with pytest.raises(InputError, match="holds no image"):
        open_dataset(str(tmp_path), image_size=32)


@pytest.fixture
def imagenet_c(tmp_path):
    """Three images of 40 x 40 px; PNG bytes under the published suffix keep their levels exact."""
    files = {"n02/b.JPEG": 0, "n01/a.JPEG": 1, "n02/a.JPEG": 2}
    images = {path: noise_png(seed, 40, 40) for path, seed in files.items()}
    write_folder(tmp_path / "fog" / "3", images)
    return tmp_path


@pytest.fixture
def cifar10_c(tmp_path):
    """Five severities of four images, each image's level its number."""
    images = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 32, 32, 3))
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "labels.npy", np.tile(np.array([1, 0, 2, 1], dtype=np.uint8), 5))
    return tmp_path


def test_folders_are_read_without_resizing(imagenet_c):
    data = open_stored_corruption(imagenet_c, "fog", 3)
    assert data.classes == ("n01", "n02")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.name == f"{imagenet_c}/fog/3 40px"
    pixels, label = data[2]
    np.testing.assert_array_equal((255 * pixels).round().permute(1, 2, 0), noise_image(40, 40))
    assert label == 1
    grey = open_stored_corruption(imagenet_c, "fog", 3, in_chans=1)
    assert grey[0][0].shape == (1, 40, 40)

    write_folder(imagenet_c / "fog" / "3", {"n02/c.JPEG": noise_png(9, 40, 44)})
    data = open_stored_corruption(imagenet_c, "fog", 3)
    with pytest.raises(InputError, match=r"c\.JPEG is 40x44px; .* all must be 40px"):
        data[3]


def test_arrays_hold_one_severity_after_the_other(cifar10_c):
    for severity in (1, 4, 5):
        data = open_stored_corruption(cifar10_c, "fog", severity)
        assert data.name == f"{cifar10_c}/fog/{severity} 32px"
        assert data.labels.tolist() == [1, 0, 2, 1]
        assert len(data.classes) == 3
        levels = [float(255 * data[index][0].mean()) for index in range(4)]
        assert levels == pytest.approx([4 * (severity - 1) + k for k in range(4)])
        assert data[0][0].shape == (3, 32, 32)
    pixels = open_stored_corruption(cifar10_c, "fog", 5, in_chans=1)[3][0]
    assert pixels.shape == (1, 32, 32)
    assert float(255 * pixels.mean()) == pytest.approx(19, abs=1)


@pytest.mark.parametrize(
    ("corruption", "severity", "message"),
    [
        ("fog", 0, "severity=0 does not exist; allowed: 1 to 5"),
        ("snow", 1, r"holds neither snow/1/ nor snow\.npy"),
    ],
)
def test_what_is_not_there_is_refused(corruption, severity, message, cifar10_c):
    with pytest.raises(InputError, match=message):
        open_stored_corruption(cifar10_c, corruption, severity)


@pytest.mark.parametrize("shape", [(20, 32, 32), (18, 32, 32, 3), (20, 3, 32, 32)])
def test_other_arrays_are_refused(shape, tmp_path):
    np.save(tmp_path / "fog.npy", np.zeros(shape, dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(shape[0], dtype=np.uint8))
    with pytest.raises(InputError, match=r"fog\.npy holds uint8 of shape .* needed: uint8"):
        open_stored_corruption(tmp_path, "fog", 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"array .*labels\.npy cannot be read: No such file"),
        (b"\x93NUMPY", r"array .*labels\.npy cannot be read: "),
        (np.array([None] * 5, dtype=object), r"array .*labels\.npy cannot be read: Object arrays"),
        (np.full(5, 0.5), "labels of .*labels.npy hold 0.5; allowed: whole numbers"),
        (np.full(5, -1), "5 of 5 labels of .*labels.npy are missing"),
        (np.zeros((5, 2)), r"labels of .* have shape \(5, 2\); needed: one class number"),
    ],
)
def test_labels_of_arrays_that_are_no_class_numbers(labels, message, tmp_path):
    np.save(tmp_path / "fog.npy", np.zeros((5, 32, 32, 3), dtype=np.uint8))
    if isinstance(labels, np.ndarray):
        np.save(tmp_path / "labels.npy", labels)
    elif labels:
        (tmp_path / "labels.npy").write_bytes(labels)
    with pytest.raises(InputError, match=message) as caught:
        open_stored_corruption(tmp_path, "fog", 1)
    assert "\n" not in str(caught.value)

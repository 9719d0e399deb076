"""torchvision's sets by name, from files written here in the formats that torchvision reads."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from filelock import FileLock

from tests.data.pictures import encoded, levels, noise_image, write_folder
from vonenet.data import BrokenImageError, open_dataset
from vonenet.data.sources import TORCHVISION, data_root
from vonenet.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    """MNIST's format: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets: one with `train=`, held in memory, and one with `split=`, files on disk."""
    monkeypatch.setenv("VONENET_DATA", str(tmp_path))
    labels = np.array([9, 0, 4], dtype=np.uint8)
    for part, images in (("train", IMAGES), ("t10k", IMAGES[:, ::-1])):
        files = {
            f"{part}-images-idx3-ubyte": idx(np.ascontiguousarray(images)),
            f"{part}-labels-idx1-ubyte": idx(labels),
        }
        write_folder(tmp_path / "FashionMNIST" / "raw", files)
    for part, name in (("train", "n01440764/a"), ("train", "n02102040/b"), ("val", "n02102040/c")):
        content = encoded(noise_image(20, 30, seed=ord(name[-1])), "JPEG")
        write_folder(tmp_path / "imagenette2" / part, {f"{name}.JPEG": content})
    return tmp_path


def test_sets_with_a_train_argument(root: Path) -> None:
    data = open_dataset("torchvision/FashionMNIST", "train", image_size=28, in_chans=1)
    assert data.name == "torchvision/FashionMNIST/train 28px"
    assert data.labels.tolist() == [9, 0, 4]
    assert data.classes[9] == "Ankle boot"
    assert torch.equal((data[1][0] * 255).round().byte()[0], torch.from_numpy(IMAGES[1]))
    test = open_dataset("torchvision/FashionMNIST", image_size=28, in_chans=1)
    assert test.name == "torchvision/FashionMNIST/test 28px"
    assert levels(test.whole(2)) == IMAGES[2, ::-1].ravel().tolist()
    assert levels(pickle.loads(pickle.dumps(test)).whole(2)) == levels(test.whole(2))


def test_sets_with_a_split_argument(root: Path) -> None:
    data = open_dataset("torchvision/Imagenette", "train", image_size=8)
    assert data.labels.tolist() == [0, 1]
    assert data.classes == ("tench", "English springer")
    assert data.whole(1).size == (30, 20)
    test = open_dataset("torchvision/Imagenette", image_size=8)
    assert test.name == "torchvision/Imagenette/val 8px"


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("FashionMNIST", "val", "no split 'val' in 'torchvision/FashionMNIST'; there: test, train"),
        ("Imagenette", "extra", "no split 'extra' in 'torchvision/Imagenette': .*'train', 'val'"),
        ("Cifar10", "test", "no data set 'torchvision/Cifar10'; allowed: .*CIFAR10, CIFAR100"),
        ("CocoDetection", "test", "no data set 'torchvision/CocoDetection'"),
    ],
)
def test_what_is_not_there_is_refused(root: Path, name: str, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(f"torchvision/{name}", split, image_size=28)


def test_a_download_that_fails_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **keywords: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nand more")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", unreachable)
    monkeypatch.setattr(torchvision.datasets.mnist.KMNIST, "mirrors", ["http://none/"])
    with pytest.raises(
        InputError, match="torchvision/KMNIST is not in .*download failed"
    ) as caught:
        open_dataset("torchvision/KMNIST", image_size=28)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="torchvision/FER2013 is not in .*test.csv not found"):
        open_dataset("torchvision/FER2013", image_size=28)


def test_what_is_absent_is_downloaded_by_one_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process downloads, it holds the lock that the others wait for."""

    def download(url: str, download_root: str, filename: str, md5: str) -> None:
        with pytest.raises(TimeoutError):
            FileLock(root / ".KMNIST.lock", timeout=0, is_singleton=False).acquire()
        source = root / "FashionMNIST" / "raw" / filename.removesuffix(".gz")
        write_folder(Path(download_root), {source.name: source.read_bytes()})

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    assert open_dataset("torchvision/KMNIST", image_size=28).labels.tolist() == [9, 0, 4]


def test_a_folder_that_can_only_be_read_needs_no_lock(root: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    open_dataset("torchvision/FashionMNIST", image_size=28)
    assert not list(root.glob(".*lock"))


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VONENET_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(InputError, match="cannot make the folder .*/file/data, VONENET_DATA"):
        open_dataset("torchvision/MNIST", image_size=28)


def test_a_broken_image_is_named(root: Path) -> None:
    write_folder(root / "imagenette2" / "train", {"n01440764/a.JPEG": b"no image"})
    data = open_dataset("torchvision/Imagenette", "train", image_size=8)
    with pytest.raises(BrokenImageError, match="number 0 of torchvision/Imagenette/train cannot"):
        data.whole(0)


def test_where_data_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VONENET_DATA", raising=False)
    assert data_root() == Path.home() / ".cache" / "vonenet" / "data"


def test_every_set_listed_is_there() -> None:
    for name in TORCHVISION:
        kind = getattr(torchvision.datasets, name)
        assert issubclass(kind, torchvision.datasets.VisionDataset)

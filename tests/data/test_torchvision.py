"""torchvision's sets by name, from files written here in the formats that torchvision reads."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from filelock import FileLock

from tests.data.pictures import encoded, levels, noise_image, write_folder
from vonenet.data import BrokenImageError, open_dataset
from vonenet.data.sources import TORCHVISION
from vonenet.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)


def idx(array):
    """MNIST's format: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two sets: one with `train=`, held in memory, and one with `split=`, files on disk."""
    monkeypatch.setenv("VONENET_DATA", str(tmp_path))
    for part, images in (("train", IMAGES), ("t10k", IMAGES[:, ::-1])):
        files = {
            f"{part}-images-idx3-ubyte": idx(images),
            f"{part}-labels-idx1-ubyte": idx(np.array([9, 0, 4], dtype=np.uint8)),
        }
        write_folder(tmp_path / "FashionMNIST" / "raw", files)
    for seed, path in enumerate(["train/n01440764/a", "train/n02102040/b", "val/n02102040/c"]):
        content = encoded(noise_image(20, 30, seed), "JPEG")
        write_folder(tmp_path / "imagenette2", {f"{path}.JPEG": content})
    return tmp_path


def test_sets_with_a_train_argument(root):
    data = open_dataset("torchvision/FashionMNIST", "train", image_size=28, in_chans=1)
    assert data.name == "torchvision/FashionMNIST/train 28px"
    assert data.labels.tolist() == [9, 0, 4]
    assert data.classes[9] == "Ankle boot"
    assert torch.equal((data[1][0] * 255).round().byte()[0], torch.from_numpy(IMAGES[1]))
    test = open_dataset("torchvision/FashionMNIST", image_size=28, in_chans=1)
    assert test.name == "torchvision/FashionMNIST/test 28px"
    for each in (test, pickle.loads(pickle.dumps(test))):
        assert levels(each.whole(2)) == IMAGES[2, ::-1].ravel().tolist()


def test_images_in_no_file_are_read_once_for_the_hashes_of_a_set_and_its_parts(root, monkeypatch):
    data = open_dataset("torchvision/FashionMNIST", "train", image_size=28, in_chans=1)
    parts = [data.subset(2), data, data.select(torch.tensor([2, 0]))]
    alone = [copy.deepcopy(part).content_hash() for part in parts]
    read, reads = type(data.source).read, []
    monkeypatch.setattr(
        type(data.source), "read", lambda self, index: reads.append(index) or read(self, index)
    )
    assert [part.content_hash() for part in parts] == alone
    assert sorted(reads) == [0, 1, 2]


def test_sets_with_a_split_argument(root):
    data = open_dataset("torchvision/Imagenette", "train", image_size=8)
    assert data.labels.tolist() == [0, 1]
    assert data.classes == ("tench", "English springer")
    assert data.whole(1).size == (30, 20)
    test = open_dataset("torchvision/Imagenette", image_size=8)
    assert test.name == "torchvision/Imagenette/val 8px"
    write_folder(root / "imagenette2" / "train", {"n01440764/a.JPEG": b"no image"})
    with pytest.raises(BrokenImageError, match="number 0 of torchvision/Imagenette/train cannot"):
        data.whole(0)


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("FashionMNIST", "val", "no split 'val' in 'torchvision/FashionMNIST'; there: test, train"),
        ("Imagenette", "extra", "no split 'extra' in 'torchvision/Imagenette': .*'train', 'val'"),
        ("Cifar10", "test", "no data set 'torchvision/Cifar10'; allowed: .*CIFAR10, CIFAR100"),
        ("CocoDetection", "test", "no data set 'torchvision/CocoDetection'"),
        ("KMNIST", "test", "torchvision/KMNIST is not in .*download failed"),
        ("FER2013", "test", "torchvision/FER2013 is not in .*test.csv not found"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(root, name, split, message, monkeypatch):
    def unreachable(*args, **keywords):
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nand more")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", unreachable)
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(f"torchvision/{name}", split, image_size=28)
    assert "\n" not in str(caught.value)


def test_what_is_absent_is_downloaded_by_one_at_a_time(root, monkeypatch):
    """While a process downloads, it holds the lock that the others wait for."""

    def download(url, download_root, filename, md5):
        with pytest.raises(TimeoutError):
            FileLock(root / ".KMNIST.lock", timeout=0, is_singleton=False).acquire()
        source = root / "FashionMNIST" / "raw" / filename.removesuffix(".gz")
        write_folder(Path(download_root), {source.name: source.read_bytes()})

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    assert open_dataset("torchvision/KMNIST", image_size=28).labels.tolist() == [9, 0, 4]


def test_where_data_lie(root, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    open_dataset("torchvision/FashionMNIST", image_size=28)
    assert not list(root.glob(".*lock"))  # a folder that can only be read needs none
    assert all(hasattr(torchvision.datasets, name) for name in TORCHVISION)
    (root / "file").write_text("")
    monkeypatch.setenv("VONENET_DATA", str(root / "file" / "data"))
    with pytest.raises(InputError, match="cannot make the folder .*/file/data, VONENET_DATA"):
        open_dataset("torchvision/MNIST", image_size=28)

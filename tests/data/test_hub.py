"""Sets of the Hugging Face hub, by way of its own package and a folder in place of the network."""

import pickle
import sys

import pytest
import torch

from tests.data.pictures import levels, noise_image, noise_png, write_folder, write_parquet
from vonenet.data import BrokenImageError, open_dataset
from vonenet.errors import InputError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Everything asked of the hub is asked of a folder, to be loaded as the hub's files are."""
    datasets = pytest.importorskip("datasets")
    for split, seeds in {"train": range(5), "validation": range(5, 7)}.items():
        path = tmp_path / "owner" / "name" / "data" / f"{split}-00000-of-00001.parquet"
        images = [noise_png(seed) for seed in seeds]
        write_parquet(path, images, [seed % 2 for seed in seeds], names=["cat", "dog"])

    def local(load):
        def asked(repository, config, **keywords):
            if not (tmp_path / repository).is_dir():
                raise ConnectionError(f"Couldn't reach {repository!r} on the Hub\nand more")
            return load(str(tmp_path / repository), config, **keywords)

        return asked

    for name in ("load_dataset", "get_dataset_split_names"):
        monkeypatch.setattr(datasets, name, local(getattr(datasets, name)))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return tmp_path


def test_a_split_with_its_names(hub):
    data = open_dataset("hub/owner/name", "train", image_size=8)
    assert data.name == "hub/owner/name/train 8px"
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 0, 1, 0]
    for index in (4, 0):
        assert levels(data.whole(index)) == levels(noise_image(12, 10, index))
    assert data.describe(3) == "in row 3 of hub/owner/name/train"
    chosen = pickle.loads(pickle.dumps(data)).select(torch.tensor([3, 1]))
    assert levels(chosen.whole(0)) == levels(noise_image(12, 10, 3))
    other = open_dataset("hub/owner/name", "test", image_size=8)
    assert (other.name, len(other)) == ("hub/owner/name/validation 8px", 2)


def test_images_beside_the_table(hub):
    """A set made of image files keeps their paths, and no bytes."""
    files = {f"train/{name}/{i}.png": noise_png(i) for i, name in enumerate(["ant", "bee"])}
    write_folder(hub / "owner" / "files", files)
    data = open_dataset("hub/owner/files", "train", image_size=8)
    assert data.classes == ("ant", "bee")
    assert levels(data.whole(1)) == levels(noise_image(12, 10, 1))
    (hub / "owner" / "files" / "train" / "bee" / "1.png").unlink()
    with pytest.raises(BrokenImageError, match="image in row 1 of hub/owner/files/train cannot"):
        data.whole(1)


@pytest.mark.parametrize(
    ("address", "split", "message"),
    [
        ("hub/owner/name", "x", "no split 'x' in 'hub/owner/name'; there: train, validation"),
        ("hub/no/set", "test", "hub/no/set could not be opened: Couldn't reach"),
        ("hub/owner/name:odd", "test", "hub/owner/name:odd could not be opened: .*odd"),
        ("hub/owner/text", "test", "hub/owner/text has columns .*'sentence'.*needed: 'img'"),
    ],
)
def test_what_cannot_be_had_is_one_line(hub, address, split, message, monkeypatch):
    path = hub / "owner" / "text" / "test-00000-of-00001.parquet"
    write_parquet(path, [b"x"], [0], column="sentence")
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(address, split, image_size=8)
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"hub/a/b needs datasets: pip install 'vonenet\[hub\]'"):
        open_dataset("hub/a/b", image_size=8)

"""Parquet: read row group by row group, a few kept, every row itself, damage named."""

import pickle
import sys
from pathlib import Path

import pytest
import torch

from tests.data.pictures import levels, noise_image, noise_png, write_parquet
from vonenet.data import BrokenImageError, open_dataset, shards
from vonenet.data.shards import ParquetSource
from vonenet.errors import InputError

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


@pytest.fixture
def folder(tmp_path):
    """Images 0 to 8, labelled by their number mod 3, in files of 5, 0 and 4 rows."""
    for part, seeds in enumerate([range(5), range(0), range(5, 9)]):
        path = tmp_path / "data" / f"train-{part:05d}-of-00003.parquet"
        write_parquet(path, [noise_png(seed) for seed in seeds], [seed % 3 for seed in seeds])
    return tmp_path


@pytest.fixture
def groups_read(monkeypatch):
    """The numbers of the row groups that are read."""
    groups, read = [], ParquetSource._read_group
    monkeypatch.setattr(
        ParquetSource,
        "_read_group",
        lambda self, number: groups.append(number) or read(self, number),
    )
    return groups


def opened(folder):
    return open_dataset(str(folder), "train", image_size=8)


@pytest.mark.parametrize("room", [0, 2**28])
def test_every_row_in_any_order(folder, room, monkeypatch):
    monkeypatch.setattr(shards, "CACHE_BYTES", room)
    data = opened(folder)
    pickled = len(pickle.dumps(data))
    assert data.labels.tolist() == [0, 1, 2] * 3
    for seed in [8, 0, 4, 5, 3, 1, 7, 2, 6, 0, 8]:
        assert levels(data.whole(seed)) == levels(noise_image(12, 10, seed))
    assert data.describe(4) == f"in row 4 of {folder}/data/train-00000-of-00003.parquet"
    assert data.describe(5) == f"in row 0 of {folder}/data/train-00002-of-00003.parquet"
    assert data.select(torch.tensor([5])).describe(0) == data.describe(5)
    assert len(pickle.dumps(data)) == pickled  # no image goes with it


def test_each_group_is_read_once_and_no_more_is_kept_than_there_is_room_for(
    folder, groups_read, monkeypatch
):
    """Room for two row groups of 2 images (some 400 bytes each): the last two used stay."""
    data = opened(folder)
    assert groups_read == []  # opening reads no image
    for index in [*range(9), *range(9)]:
        data.whole(index)
    assert groups_read == [0, 1, 2, 4, 5]  # of 2, 2, 1, none, 2, 2 rows
    data = opened(folder)
    groups_read.clear()
    data.whole(0)
    monkeypatch.setattr(shards, "CACHE_BYTES", int(2.5 * data.source._kept_bytes()))
    for index in (2, 0, 5, 0, 2):  # groups 1, 0 (kept), 4 (for 1), 0 (kept), 1 (again)
        data.whole(index)
        assert data.source._kept_bytes() <= shards.CACHE_BYTES
    assert groups_read == [0, 1, 4, 1]


@pytest.mark.parametrize(
    ("label", "names", "classes"),
    [
        ("label", ["cat", "dog"], ("cat", "dog")),
        ("label", None, ("0", "1")),
        ("fine_label", ["apple", "bear"], ("apple", "bear")),  # CIFAR-100's
    ],
)
def test_class_names_and_columns(tmp_path, label, names, classes):
    path = tmp_path / "train-0.parquet"
    write_parquet(path, [noise_png(0)], [1], label=label, names=names)
    assert (opened(tmp_path).classes, opened(tmp_path).labels.tolist()) == (classes, [1])
    write_parquet(path, [noise_png(0)], [1], column="picture")
    with pytest.raises(InputError, match=r"\['picture', 'label'\]; needed: 'img'"):
        opened(tmp_path)


def test_images_without_a_struct_and_a_row_without_bytes(tmp_path):
    table = pytest.importorskip("pyarrow").table({"img": [noise_png(3)], "label": [0]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "train-0.parquet")
    assert levels(opened(tmp_path).whole(0)) == levels(noise_image(12, 10, 3))
    write_parquet(tmp_path / "train-0.parquet", [noise_png(0), None], [0, 0])
    with pytest.raises(BrokenImageError, match=r"in row 1 of .*train-0\.parquet cannot be read: "):
        opened(tmp_path).whole(1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None], r"1 of 2 labels of .*train-0\.parquet are missing"),
        ([0, -1], r"1 of 2 labels of .*train-0\.parquet are missing \(None, NaN or below 0\)"),
        (["a", "b"], r"labels of .*train-0\.parquet have type string"),
        ([[0], [1]], r"labels of .*train-0\.parquet have type list<"),
        ([0.0, 1.0], r"labels of .*train-0\.parquet have type double"),
        ([0, 10**8], r"labels of .*parquet hold 100000000; allowed: whole numbers of 0 to 999999"),
    ],
)
def test_labels_that_are_no_class_numbers(tmp_path, labels, message):
    """Of 10^8 as many names would be built; -1 stands for the labels of a hidden test set."""
    write_parquet(tmp_path / "train-0.parquet", [noise_png(0)] * 2, labels)
    with pytest.raises(InputError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize("images", [["a", "b"], [[1], [2]], [1, 2], [{"path": "a"}, {"path": "b"}]])
def test_columns_that_hold_no_image_files(tmp_path, images):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"image": images, "label": [0, 1]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=r"column 'image' of .*train-0\.parquet has type .*needed"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (b"{", "cannot be read: "),
        (b"\xff\xfe", "cannot be read: "),
        (b"[" * 100_000, "cannot be read: "),
        (b"[]", "cannot be read: "),
        (b'{"info": 3}', "cannot be read: "),
        (b'{"info": {"features": {"label": {"names": 3}}}}', "names no classes of 'label'"),
        (b'{"info": {"features": {"label": {"names": [1, 2]}}}}', "names no classes of 'label'"),
        (b'{"info": {"features": {"label": {"names": ["a"]}}}}', "labels of .* run from 0 to 1"),
    ],
)
def test_broken_notes_of_classes_are_one_line(tmp_path, note, message):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"image": [noise_png(0)] * 2, "label": [0, 1]})
    table = table.replace_schema_metadata({b"huggingface": note})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=message) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_name_classes_differently_are_refused(tmp_path):
    for part, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        write_parquet(tmp_path / f"train-{part}.parquet", [noise_png(0)], [1], names=names)
    with pytest.raises(InputError, match="name classes differently"):
        opened(tmp_path)


def test_damaged_files_are_named_and_what_is_needed_to_read_them(folder, monkeypatch):
    data = opened(folder)
    path = folder / "data" / "train-00000-of-00003.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(InputError, match=r"train-00000-of-00003\.parquet cannot be read: "):
        data.whole(0)
    path.write_bytes(content[:-10])
    with pytest.raises(InputError, match=r"00000-of-00003\.parquet cannot be read: ") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'vonenet\[parquet\]'"):
        opened(folder)


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="shared/data/cifar10 is not on this machine")
def test_cifar10_as_shared():
    pytest.importorskip("pyarrow")
    data = open_dataset(str(CIFAR10), image_size=32)
    assert data.labels.bincount().tolist() == [1000] * 10
    assert data.classes[3] == "cat"
    assert data[9999][0].shape == (3, 32, 32)

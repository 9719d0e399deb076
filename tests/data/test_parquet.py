"""Parquet: read row group by row group, a few kept, every row itself, damage named."""

import pickle
import sys
from pathlib import Path

import pytest
import torch

from tests.data.pictures import levels, noise_image, noise_png, write_parquet
from vonenet.data import BrokenImageError, ImageDataset, open_dataset, shards
from vonenet.data.shards import ParquetSource
from vonenet.errors import InputError

CIFAR10 = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images 0 to 8, labelled by their number mod 3, in files of 5, 0 and 4 rows."""
    for part, (first, count) in enumerate([(0, 5), (5, 0), (5, 4)]):
        seeds = range(first, first + count)
        path = tmp_path / "data" / f"train-{part:05d}-of-00003.parquet"
        write_parquet(path, [noise_png(seed) for seed in seeds], [seed % 3 for seed in seeds])
    return tmp_path


def opened(folder: Path) -> ImageDataset:
    return open_dataset(str(folder), "train", image_size=8)


def source_of(data: ImageDataset) -> ParquetSource:
    assert isinstance(data.source, ParquetSource)
    return data.source


@pytest.mark.parametrize("room", [0, 2**28])
def test_every_row_in_any_order(folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CACHE_BYTES", room)
    data = opened(folder)
    assert data.labels.tolist() == [0, 1, 2] * 3
    for seed in [8, 0, 4, 5, 3, 1, 7, 2, 6, 0, 8]:
        assert levels(data.whole(seed)) == levels(noise_image(12, 10, seed))


def test_rows_are_called_by_file_and_number(folder: Path) -> None:
    data = opened(folder)
    assert data.describe(4) == f"in row 4 of {folder}/data/train-00000-of-00003.parquet"
    assert data.describe(5) == f"in row 0 of {folder}/data/train-00002-of-00003.parquet"
    assert data.select(torch.tensor([5])).describe(0) == data.describe(5)


class Counted:
    """How often row groups are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[int] = []
        read = ParquetSource._read_group

        def counted(source: ParquetSource, number: int) -> object:
            self.groups.append(number)
            return read(source, number)

        monkeypatch.setattr(ParquetSource, "_read_group", counted)


def test_opening_reads_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    data = opened(folder)
    assert counted.groups == []
    for _ in range(2):
        for index in range(len(data)):
            data.whole(index)
    assert counted.groups == [0, 1, 2, 4, 5]  # of 2, 2, 1, none, 2, 2 rows: each once


def test_no_more_is_kept_than_there_is_room_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two row groups of 2 images (some 400 bytes each): the last two used stay."""
    counted = Counted(monkeypatch)
    data = opened(folder)
    source = source_of(data)
    data.whole(0)
    monkeypatch.setattr(shards, "CACHE_BYTES", int(2.5 * source._kept_bytes()))
    for index in (2, 0, 5, 0, 2):  # groups 1, 0 (kept), 4 (for 1), 0 (kept), 1 (again)
        data.whole(index)
        assert source._kept_bytes() <= shards.CACHE_BYTES
    assert counted.groups == [0, 1, 4, 1]


def test_what_is_pickled_holds_no_image(folder: Path) -> None:
    data = opened(folder)
    before = len(pickle.dumps(data))
    for index in range(9):
        data.whole(index)
    pickled = pickle.dumps(data)
    assert len(pickled) == before
    again: ImageDataset = pickle.loads(pickled)
    assert levels(again.whole(6)) == levels(data.whole(6))


def test_cifar_100_has_its_labels_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "train-00000-of-00001.parquet"
    write_parquet(path, [noise_png(0)], [1], label="fine_label", names=["apple", "bear"])
    data = opened(tmp_path)
    assert data.classes == ("apple", "bear")
    assert data.labels.tolist() == [1]


def test_images_without_a_struct(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"img": [noise_png(3)], "label": [0]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "train-0.parquet")
    assert levels(opened(tmp_path).whole(0)) == levels(noise_image(12, 10, 3))


def test_class_names_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    write_parquet(path, [noise_png(0)], [1], names=["cat", "dog"])
    assert opened(tmp_path).classes == ("cat", "dog")
    write_parquet(path, [noise_png(0)], [1])
    assert opened(tmp_path).classes == ("0", "1")
    write_parquet(path, [noise_png(0)], [1], column="picture")
    with pytest.raises(InputError, match=r"\['picture', 'label'\]; needed: 'img'"):
        opened(tmp_path)


def test_a_row_without_bytes_is_broken(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [noise_png(0), None], [0, 0])
    with pytest.raises(BrokenImageError, match=r"in row 1 of .*train-0\.parquet cannot be read: "):
        opened(tmp_path).whole(1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, None], "type int64, 1 of them missing"), (["a", "b"], "type string, 0 of them missing")],
)
def test_labels_that_are_no_numbers(tmp_path: Path, labels: list[int | None], message: str) -> None:
    write_parquet(tmp_path / "train-0.parquet", [noise_png(0)] * 2, labels)
    with pytest.raises(InputError, match=rf"labels of .*train-0\.parquet have {message}"):
        opened(tmp_path)


def test_a_file_cut_short_is_named(folder: Path) -> None:
    path = folder / "data" / "train-00002-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"00002-of-00003\.parquet cannot be read: ") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_row_group_is_named(folder: Path) -> None:
    data = opened(folder)
    path = folder / "data" / "train-00000-of-00003.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(InputError, match=r"train-00000-of-00003\.parquet cannot be read: "):
        data.whole(0)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'vonenet\[parquet\]'"):
        open_dataset(str(tmp_path), image_size=32)


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="shared/data/cifar10 is not on this machine")
def test_cifar10_as_shared() -> None:
    pytest.importorskip("pyarrow")
    data = open_dataset(str(CIFAR10), image_size=32)
    assert data.labels.bincount().tolist() == [1000] * 10
    assert data.classes[3] == "cat"
    assert data[9999][0].shape == (3, 32, 32)

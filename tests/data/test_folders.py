"""Folders: natural order, each folder once, only files that are read; parts by name or refused."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.pictures import (
    levels,
    noise_image,
    noise_png,
    write_folder,
    write_parquet,
    write_tar,
)
from vonenet.data import open_dataset
from vonenet.errors import InputError, VOneNetWarning

PNG = noise_png(0)


def opened(folder, *split):
    return open_dataset(str(folder), *split, image_size=8)


def files_of(data):
    return [data.describe(index) for index in range(len(data))]


def test_classes_and_files_are_in_natural_order(tmp_path):
    """A perfect model of 12 classes scored 16.7 % on folders "0" to "11", sorted as text."""
    write_folder(tmp_path, {f"{name}/a.png": PNG for name in range(12)})
    write_folder(tmp_path / "3", {f"stim{number}.png": PNG for number in (10, 9, 1)})
    data = opened(tmp_path)
    assert data.classes == tuple(map(str, range(12)))
    assert [Path(name).parent.name for name in files_of(data)] == [
        data.classes[label] for label in data.labels
    ]
    stimuli = [Path(name).stem for name in files_of(data) if "stim" in name]
    assert stimuli == ["stim1", "stim9", "stim10"]


def test_files_lie_folder_by_folder_at_any_depth(tmp_path):
    """As Path objects sort, on which the order of old results rests."""
    names = ["b/1.png", "a-b/1.png", "a/x/1.png", "a/x-y/0.png", "a/z.png", "a/0.PNG"]
    write_folder(tmp_path / "cat", dict.fromkeys(names, PNG))
    paths = [Path(name) for name in files_of(opened(tmp_path))]
    assert paths == sorted(tmp_path / "cat" / name for name in names)


def test_links_are_followed_once_and_never_upwards(tmp_path):
    """Links that lead in circles, to another class, above the set; and one to images elsewhere."""
    root, store = tmp_path / "set", tmp_path / "store"
    write_folder(root, {"cat/a.png": PNG, "dog/deep/b.png": PNG})
    write_folder(store, {"c.png": PNG})
    for name, target in {
        "cat/again": root / "cat",
        "cat/dog": root / "dog" / "deep",
        "cat/up": tmp_path,
        "cat/self": "self",
        "cat/elsewhere": store,
        "dog/elsewhere": store,
        "cow": root / "dog",
    }.items():
        (root / name).symlink_to(target)
    (root / "dog" / "link.png").symlink_to(store / "c.png")  # images may be links
    data = opened(root)
    assert data.classes == ("cat", "cow", "dog")
    assert data.labels.bincount().tolist() == [2, 0, 2]
    assert files_of(data) == [
        f"{root}/{name}"
        for name in ("cat/a.png", "cat/elsewhere/c.png", "dog/deep/b.png", "dog/link.png")
    ]


def test_what_is_no_image_file_is_left_out_and_counted(tmp_path):
    """A pipe would block, /dev/zero never ends, `._a.png` is macOS's note of a.png."""
    names = ("._a.png", ".hidden/b.png", "__MACOSX/c.png", "photo.HEIC", "notes.txt", "README")
    write_folder(tmp_path / "cat", dict.fromkeys(("a.png", *names), PNG))
    write_folder(tmp_path, dict.fromkeys(("b.png", ".git/x/c.png", "__MACOSX/cat/d.png"), PNG))
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "self.png").symlink_to("self.png")
    (tmp_path / "dog").mkdir()
    with pytest.warns(VOneNetWarning, match="not read: heic 1, images in no folder of a class 1"):
        data = opened(tmp_path)
    assert (data.classes, files_of(data)) == (("cat", "dog"), [f"{tmp_path}/cat/a.png"])
    assert data.source.left_out == {
        "heic": 1,
        "txt": 1,
        "no suffix": 1,
        "images in no folder of a class": 1,
        "pipes, devices and broken links": 4,
    }
    (tmp_path / "cat" / "a.png").unlink()
    with pytest.raises(InputError, match=r"holds no image; needed: .*; not read: heic 1, "):
        opened(tmp_path)


def test_notes_beside_images_need_no_warning(tmp_path):
    write_folder(tmp_path / "cat", {"a.png": PNG, "boxes.txt": b"1 2"})
    assert opened(tmp_path).source.left_out == {"txt": 1}


@pytest.mark.parametrize("split", ["test", "train", "val", "banana", ""])
@pytest.mark.parametrize("kind", ["images", "parquet", "tar", "shards"])
def test_data_of_one_part_are_all_and_no_split(tmp_path, split, kind):
    """Whatever was asked for was given, and the page said "photos/test" of training images."""
    folder = tmp_path
    if kind == "images":
        write_folder(tmp_path, {"cat/a.png": PNG, "dog/b.png": PNG})
    elif kind == "parquet":
        write_parquet(tmp_path / "rows.parquet", [PNG, PNG], [0, 1])
    else:
        shard = write_tar(tmp_path / "part-0.tar", [("a.png", PNG), ("a.cls", b"0")])
        folder = shard if kind == "tar" else tmp_path
    with pytest.raises(InputError, match=rf"no split '{split}' in .*; there: all \(it has one"):
        opened(folder, split)
    name = f"{folder} 8px" if kind == "tar" else f"{folder}/all 8px"
    for asked in ((), ("all",), (("train", "all"),)):
        assert opened(folder, *asked).name == name


def test_folders_of_splits_by_their_other_names(tmp_path):
    """A class may be called as a split is."""
    write_folder(tmp_path, {"train/a.png": PNG, "plane/a.png": PNG})
    assert opened(tmp_path).classes == ("plane", "train")
    write_folder(tmp_path, {"val/cat/a.png": PNG, "other/dog/a.png": PNG})
    data = opened(tmp_path, "test")
    assert (data.name, data.classes) == (f"{tmp_path}/val 8px", ("cat",))
    assert (data.source.splits, opened(tmp_path, "other").classes) == (("val",), ("dog",))
    for split in ("extra", "all", "train"):
        with pytest.raises(InputError, match=f"no split '{split}' in .*; there: val"):
            opened(tmp_path, split)


def test_archives_beside_images_do_not_take_the_set_over(tmp_path, monkeypatch):
    """ImageNet's own archives are often left where they were unpacked."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "set", {"n01/a.png": PNG, "n01.tar": b"as downloaded"})
    write_parquet(tmp_path / "set" / "index.parquet", [PNG], [0])
    write_parquet(tmp_path / "set" / "n02" / "train-0.parquet", [PNG], [0])
    data = opened("~/set")
    assert (data.classes, len(data)) == (("n01", "n02"), 1)
    assert data.source.left_out == {"tar": 1, "parquet": 2}
    write_parquet(tmp_path / "set" / "n02" / "train-00000-of-00001.parquet", [PNG], [0])
    with pytest.raises(InputError, match="folders of images and parquet files, such as .*n02/"):
        opened("~/set")


@pytest.mark.parametrize("name", ["a.parquet", "a.tar", "test/a.tar"])
def test_pipes_called_as_shards_are_not_waited_for(tmp_path, name):
    (tmp_path / "test").mkdir()
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="holds no image"):
        opened(tmp_path)


def test_a_file_that_becomes_a_pipe_is_broken(tmp_path):
    write_folder(tmp_path, {"cat/a.png": PNG})
    data = opened(tmp_path)
    assert levels(data.whole(0)) == np.asarray(noise_image(12, 10)).ravel().tolist()
    (tmp_path / "cat" / "a.png").unlink()
    os.mkfifo(tmp_path / "cat" / "a.png")
    with pytest.raises(InputError, match=r"a\.png cannot be read: it is a folder, a pipe"):
        data.whole(0)

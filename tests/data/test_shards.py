"""WebDataset shards: the same samples as the webdataset package reads, at random, never half."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.pictures import levels, noise_image, noise_png, write_tar
from vonenet.data import BrokenImageError, open_dataset
from vonenet.data.shards import TarSource, choose_split, expand_braces, files_of_split
from vonenet.errors import InputError


def sample(number, label):
    return [(f"{number:04d}.png", noise_png(number)), (f"{number:04d}.cls", b"%d\n" % label)]


@pytest.fixture
def shards(tmp_path):
    write_tar(tmp_path / "train-000.tar", sample(0, 2) + sample(1, 0))
    write_tar(tmp_path / "train-001.tar", sample(2, 1))
    write_tar(tmp_path / "val-000.tar", sample(3, 1))
    return tmp_path


@pytest.mark.parametrize(
    ("address", "split", "seeds", "name"),
    [
        ("{}", "train", [0, 1, 2], "{}/train 8px"),
        ("{}", "test", [3], "{}/val 8px"),
        ("{}/train-{{000..001}}.tar", "all", [0, 1, 2], "{}/train-{{000..001}}.tar 8px"),
        ("{}/train-*.tar", "all", [0, 1, 2], "{}/train-*.tar 8px"),
        ("{}/{{val,train}}-000.tar", "all", [3, 0, 1], "{}/{{val,train}}-000.tar 8px"),
        ("{}/val-000.tar", "test", [3], "{}/val-000.tar/val 8px"),
        ("{}/*.tar", ("train", "all"), [0, 1, 2], "{}/*.tar/train 8px"),
        ("{}/train-*.tar", ("test", "all"), [0, 1, 2], "{}/train-*.tar 8px"),
    ],
)
def test_addresses(shards, address, split, seeds, name):
    data = open_dataset(address.format(shards), split, image_size=8)
    assert data.name == name.format(shards)
    assert data.labels.tolist() == [[2, 0, 1, 1][seed] for seed in seeds]
    assert data.classes == tuple(str(label) for label in range(max(data.labels) + 1))
    for index in reversed(range(len(seeds))):
        assert levels(data.whole(index)) == levels(noise_image(12, 10, seeds[index]))


def test_the_folder_of_a_split_labels_of_json_and_files_that_are_no_images(tmp_path):
    note = json.dumps({"label": 4, "text": "a"}).encode()
    members = [("README", b"x"), ("a/b.json", note), ("a/b.jpg", noise_png(6)), ("c.txt", b"")]
    write_tar(tmp_path / "train" / "0.tar", sample(5, 0))
    write_tar(tmp_path / "test" / "0.tar", members)
    data = open_dataset(str(tmp_path), "test", image_size=8)
    assert data.labels.tolist() == [4]
    assert data.describe(0) == f"a/b in {tmp_path}/test/0.tar"
    assert levels(data.whole(0)) == levels(noise_image(12, 10, 6))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", b"x")], r"a in .*a\.tar has no label; needed: a \.cls file"),
        ([("a.png", b"x"), ("a.cls", b"cat")], r"the \.cls of a in .* holds no class number"),
        ([("a.png", b"x"), ("a.json", b"{}")], r"the \.json of a in .* holds no class number"),
        ([("a.png", b"x"), ("a.json", b"[1]")], "holds no class number"),
        ([("a.png", b"x"), ("a.json", b'{"label": 3.7}')], "holds no class number"),
        ([("a.png", b"x"), ("a.json", b'{"label": 1e999}')], "holds no class number"),
        ([("a.png", b"x"), ("a.json", b"[" * 100_000)], "holds no class number"),
        ([("a.png", b"x"), ("a.cls", b"-1")], "holds no class number of 0 to 999999"),
        ([("a.png", b"x"), ("a.cls", b"9" * 30)], "holds no class number of 0 to 999999"),
        ([("a.png", b"x"), ("a.png", b"y")], r"holds a\.png twice"),
        ([("a.cls", b"1")], "holds no image"),
    ],
)
def test_what_cannot_be_understood(tmp_path, members, message):
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=message):
        open_dataset(str(path), image_size=8)


def test_every_unfinished_shard_is_named(tmp_path):
    """Cut anywhere before its end mark, a shard is refused: not even whole images count."""
    path = write_tar(tmp_path / "a.tar", sample(0, 0) + sample(1, 1))
    content = path.read_bytes()
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512
    for cut in [*range(0, end + 512, 128), end - 1, end + 511]:
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"shard .*a\.tar is damaged"):
            TarSource([path])
    path.write_bytes(content[: end + 512])
    assert len(TarSource([path]).labels) == 2
    header = content.index(b"0001.png")
    path.write_bytes(content[:header] + b"x" + content[header + 1 :])  # does not pass for the end
    with pytest.raises(InputError, match=r"a\.tar is damaged or unfinished from byte \d+ on"):
        TarSource([path])
    path.write_bytes(b"\x1f\x8b" + bytes(range(256)) * 4)
    with pytest.raises(InputError, match=r"a\.tar is damaged, unfinished or packed"):
        TarSource([path])


def test_a_shard_that_changes_after_it_was_opened(shards):
    data = open_dataset(str(shards / "val-000.tar"), image_size=8)
    (shards / "val-000.tar").write_bytes(b"short")
    with pytest.raises(BrokenImageError, match=r"0003 in .*val-000\.tar .*became shorter"):
        data.whole(0)
    (shards / "val-000.tar").unlink()
    with pytest.raises(BrokenImageError, match="No such file"):
        data.whole(0)


def test_missing_shards_are_named(shards):
    for address, there in (("train-*", "all, train"), ("{train,trainval}-000", "train, trainval")):
        (shards / "trainval-000.tar").write_bytes((shards / "val-000.tar").read_bytes())
        with pytest.raises(InputError, match=f"no split 'test' in .*; there: {there}"):
            open_dataset(f"{shards}/{address}.tar", "test", image_size=8)
    with pytest.raises(InputError, match=r"2 of 4 shards are not there; first: .*train-002\.tar"):
        open_dataset(f"{shards}/train-{{000..003}}.tar", image_size=8)


PATTERNS = (
    "a {a,b} x{0..3}y {08..11} {000..012} {0..12} {8..0011} {08..1} {3..1} {a,b}-{1..2}.t {a}"
)


@pytest.mark.oracle
@pytest.mark.parametrize("pattern", PATTERNS.split())
def test_braces_stand_for_what_a_shell_makes_of_them(pattern):
    oracle = pytest.importorskip("braceexpand")
    assert list(expand_braces(pattern)) == list(oracle.braceexpand(pattern))


SUFFIXES = st.sampled_from(["png", "JPG", "jpeg", "seg.png", "txt", "cls.old", "npy"])
KEYS = st.from_regex(r"[ab0-][ab_0-]?(/?[ab_0-]){0,3}", fullmatch=True)
SAMPLES = st.lists(
    st.tuples(KEYS, st.integers(0, 9), st.lists(SUFFIXES, unique_by=str.lower, max_size=3)),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each[0],
)


@pytest.mark.oracle
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_the_same_samples_as_webdataset(tmp_path, samples, random):
    """Keys with folders, suffixes of several parts and in capitals, files of any size."""
    oracle = pytest.importorskip("webdataset.tariterators")
    members = []
    for key, label, suffixes in samples:
        files = [(f"{key}.{each}", random.randbytes(random.randrange(2000))) for each in suffixes]
        files.append((f"{key}.cls", str(label).encode()))
        random.shuffle(files)
        members += files
    path = write_tar(tmp_path / "a.tar", members)
    with path.open("rb") as stream:
        files = oracle.tar_file_expander([{"url": "a", "stream": stream}])
        theirs = list(oracle.group_by_keys(files))
    expected = [
        (each["__key__"], int(each["cls"]), each[suffix])
        for each in theirs
        for suffix in [key for key in each if key in ("png", "jpg", "jpeg")][:1]
    ]
    opened = TarSource([path])
    ours = [
        (opened.describe(index).partition(" in ")[0], label, opened.read(index))
        for index, label in enumerate(opened.labels.tolist())
    ]
    assert ours == expected


def test_long_names_and_paddings_of_other_tars(tmp_path):
    """Names above 100 characters have headers of their own, in each of the formats."""
    for number, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=form) as tar:
            for name, content in sample(4, 1):
                (tmp_path / name).write_bytes(content)
                tar.add(tmp_path / name, arcname="d" * 90 + "é/" + name)
        data = open_dataset(str(path), image_size=8)
        assert levels(data.whole(0)) == levels(noise_image(12, 10, 4))
        assert np.array_equal(data.labels, [1])


@pytest.mark.parametrize(
    ("asked", "there", "found"),
    [
        ("test", ["train", "val", "test"], "test"),
        ("test", ["train", "val"], "val"),
        ("val", ["validation", "test"], "validation"),
        ("train", ["trainval", "test"], "trainval"),
        ("extra", ["extra", "train"], "extra"),
        # Above all, who asks for validation images does not get the test images
        ("val", ["train", "test"], None),
        ("validation", ["train", "test"], None),
        ("extra", ["train", "test"], None),
    ],
)
def test_the_split_meant(asked, there, found):
    if found:
        assert choose_split(asked, there, "x") == found
        return
    with pytest.raises(InputError, match=f"no split '{asked}' in 'x'; there: test, train"):
        choose_split(asked, there, "x")


HUGGING_FACE = ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet")
TIMM = ("imagenet1k-train-0000.tar", "imagenet1k-train-0001.tar", "imagenet1k-validation-00.tar")


@pytest.mark.parametrize(
    ("split", "names", "chosen", "found"),
    [
        ("train", HUGGING_FACE, HUGGING_FACE[:1], "train"),
        ("test", HUGGING_FACE, HUGGING_FACE[1:], "validation"),
        ("train", TIMM, TIMM[:2], "train"),
        ("test", TIMM, TIMM[2:], "validation"),
        ("train", ("train_000.tar", "val_000.tar"), ("train_000.tar",), "train"),
        ("train", ("c/train/0.parquet", "c/test/0.parquet"), ("c/train/0.parquet",), "train"),
        ("odd", ("odd-0.tar", "even-0.tar"), ("odd-0.tar",), "odd"),
        ("odd", ("odd-0-of-1.tar", "x/odd-a.tar"), ("odd-0-of-1.tar", "x/odd-a.tar"), "odd"),
        ("all", ("shard-10.tar", "shard-9.tar"), ("shard-9.tar", "shard-10.tar"), "all"),
        ("test", ("shard-0.tar", "shard-1.tar"), (), "all"),
        ("train", ("train.tar", "rest.tar"), ("train.tar",), "train"),
        ("validation", ("train-0.tar", "test-0.tar"), (), "test, train"),
        ("test", ("train_small-00000-of-1.parquet",), (), "train_small"),
    ],
)
def test_files_of_a_split(split, names, chosen, found):
    """Where there is none of them, those that are there are named."""
    paths = [Path("/data", name) for name in names]
    asked = paths, Path("/data"), split, "/data"
    if chosen:
        paths, name, splits = files_of_split(*asked)
        assert (paths, name) == ([Path("/data", each) for each in chosen], found)
        assert found in splits
        return
    with pytest.raises(InputError, match=f"no split '{split}' in '/data'; there: {found}"):
        files_of_split(*asked)

"""Which split is meant, and which files belong to it."""

from pathlib import Path

import pytest

from vonenet.data.splits import choose_split, files_of_split
from vonenet.errors import InputError


@pytest.mark.parametrize(
    ("asked", "there", "found"),
    [
        ("test", ["train", "val", "test"], "test"),
        ("test", ["train", "val"], "val"),
        ("test", ["train", "validation"], "validation"),
        ("val", ["validation", "test"], "validation"),
        ("train", ["trainval", "test"], "trainval"),
        ("extra", ["extra", "train"], "extra"),
    ],
)
def test_the_split_meant(asked: str, there: list[str], found: str) -> None:
    assert choose_split(asked, there, "x") == found


@pytest.mark.parametrize("asked", ["val", "validation", "extra"])
def test_an_unknown_split_names_those_there(asked: str) -> None:
    """Above all, who asks for validation images does not get the test images."""
    with pytest.raises(InputError, match=f"no split '{asked}' in 'x'; there: test, train"):
        choose_split(asked, ["train", "test"], "x")


def of_split(split: str, *names: str) -> tuple[list[str], str]:
    root = Path("/data")
    files, found = files_of_split([root / name for name in names], root, split, "/data")
    return [str(path.relative_to(root)) for path in files], found


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
        ("train", ("0000.tar", "0001.tar"), ("0000.tar", "0001.tar"), "train"),
        ("test", ("shard-0.tar", "shard-1.tar"), ("shard-0.tar", "shard-1.tar"), "test"),
        ("train", ("train.tar", "rest.tar"), ("train.tar",), "train"),
    ],
)
def test_files_of_a_split(
    split: str, names: tuple[str, ...], chosen: tuple[str, ...], found: str
) -> None:
    assert of_split(split, *names) == (list(chosen), found)


@pytest.mark.parametrize(
    ("split", "names", "there"),
    [
        ("validation", ("train-0.tar", "test-0.tar"), "test, train"),
        ("test", ("train_small-00000-of-1.parquet",), "train_small"),
    ],
)
def test_a_split_without_files_names_those_there(
    split: str, names: tuple[str, ...], there: str
) -> None:
    with pytest.raises(InputError, match=f"no split '{split}' in '/data'; there: {there}"):
        of_split(split, *names)

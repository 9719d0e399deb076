"""ImageDataset: pixels, whole images, selections, and the broken ones named; alike in workers."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from tests.data.pictures import (
    FORKS,
    encoded,
    levels,
    noise_image,
    noise_png,
    write_folder,
    write_parquet,
    write_tar,
)
from vonenet.data import (
    BrokenImage,
    BrokenImageError,
    ImageArrays,
    ImageDataset,
    open_dataset,
    readable,
)
from vonenet.data.dataset import AT_ONCE
from vonenet.errors import InputError

GREY = torch.full((6, 1, 4, 4), 0.5)
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def test_bytes_become_pixels_on_access() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    pixels, label = ImageArrays(images, torch.tensor([1]), "ab", "tiny")[0]
    assert pixels.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert pixels.dtype == torch.float32
    assert label == 1


@pytest.mark.parametrize(
    ("n", "kept"), [(1, [0]), (3, [0, 3, 5]), (4, [0, 1, 3, 5]), (5, [0, 1, 3, 4, 5])]
)
def test_subset_takes_the_first_of_every_class(n: int, kept: list[int]) -> None:
    images = torch.arange(6, dtype=torch.float64).reshape(6, 1, 1, 1) / 10
    subset = ImageArrays(images, LABELS, "abc", "six").subset(n)
    assert [round(float(subset[i][0]) * 10) for i in range(n)] == kept
    assert subset.labels.tolist() == LABELS[kept].tolist()
    assert (subset.name, subset.classes) == ("six", ("a", "b", "c"))
    for impossible in (0, 7):
        with pytest.raises(InputError, match=f"n={impossible}.*1 to 6"):
            ImageArrays(images, LABELS, "abc", "six").subset(impossible)


def test_a_selection_of_a_selection() -> None:
    images = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1)
    data = ImageArrays(images, LABELS, "abc", "six").select(torch.tensor([5, 1, 4, 0]))
    chosen = data.select(torch.tensor([2, 0]))
    assert [levels(chosen.whole(i)) for i in (0, 1)] == [[4], [5]]
    assert [round(float(chosen[i][0]) * 255) for i in (0, 1)] == [4, 5]
    assert chosen.labels.tolist() == [1, 2]
    with pytest.raises(InputError, match="'six' holds no image"):
        data.select(torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GREY, torch.tensor([0, 0, 0, 1, 1, 3]), "0 to 3; allowed: 0 to 2"),
        (GREY, torch.tensor([-1, 0, 0, 1, 1, 2]), "-1 to 2"),
        (GREY[:5], LABELS, r"\(5, 1, 4, 4\)"),
        (GREY[:, 0], LABELS, r"\(6, 4, 4\)"),
        (GREY * 3, LABELS, r"1.5 to 1.5; allowed: \[0, 1\]"),
        (GREY * float("nan"), LABELS, "nan"),
        (GREY.to(torch.int32), LABELS, "int32"),
        (GREY[:0], LABELS[:0], "holds no image"),
    ],
)
def test_impossible_arrays_are_refused(
    images: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ImageArrays(images, labels, "abc", "six")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_arrays_as_whole_images(channels: int, mode: str) -> None:
    images = torch.randint(0, 256, (2, channels, 3, 4), dtype=torch.uint8)
    data = ImageArrays(images, torch.zeros(2), "a", "set")
    image = data.whole(1)
    assert (image.mode, image.size) == (mode, (4, 3))
    assert torch.equal(torch.tensor(levels(image)), images[1].permute(1, 2, 0).flatten())
    with pytest.raises(InputError, match="2 channels; allowed: 1, 3"):
        ImageArrays(torch.zeros(1, 2, 3, 3), torch.zeros(1), "a", "set").whole(0)


def test_floating_point_is_rounded_to_256_levels() -> None:
    values = [0.0, 0.49 / 255, 0.51 / 255, 127.5 / 255, 254.4 / 255, 1.0]
    for dtype in (torch.float32, torch.float64):
        pixels = torch.tensor(values, dtype=dtype).reshape(1, 1, 1, 6)
        image = ImageArrays(pixels, torch.zeros(1), "a", "set").whole(0)
        assert levels(image) == [0, 0, 1, 128, 254, 255]


@pytest.mark.parametrize(("in_chans", "mode"), [(1, "L"), (3, "RGB")])
def test_files_are_neither_resized_nor_cropped(tmp_path: Path, in_chans: int, mode: str) -> None:
    write_folder(tmp_path, {"a/0.png": noise_png(0, 30, 47)})
    image = open_dataset(str(tmp_path), image_size=8, in_chans=in_chans).whole(0)
    assert (image.mode, image.size) == (mode, (47, 30))
    assert levels(image) == levels(noise_image(30, 47).convert(mode))


def test_cached_images_are_decoded_once_while_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {f"a/{seed}.png": noise_png(seed, 8, 8) for seed in range(3)})
    data = open_dataset(str(tmp_path), image_size=8)
    expected = [data[index][0] for index in range(3)]
    read: list[int] = []
    of_source = type(data.source).read
    monkeypatch.setattr(
        type(data.source), "read", lambda self, index: read.append(index) or of_source(self, index)
    )
    cached = data.cached(most_bytes=2 * 3 * 8 * 8)
    for _ in range(2):
        for index in range(3):
            assert torch.equal(cached[index][0], expected[index])
    assert read == [0, 1, 2, 2]
    chosen = cached.select(torch.tensor([2, 0]))
    assert torch.equal(chosen[0][0], expected[2])
    assert (chosen.name, chosen.describe(1)) == (data.name, f"{tmp_path}/a/0.png")
    with pytest.raises(InputError, match="no image of data set .* is left"):
        data.select(torch.tensor([], dtype=torch.long))


CUT = encoded(noise_image(40, 40), "JPEG")[:900]
FILES = [noise_png(0), CUT, noise_png(2), b"", noise_png(4), b"<html>"]
OF_CLASS = [0, 1, 2, 0, 1, 2]


def in_folder(root: Path, files: list[bytes], labels: list[int]) -> list[str]:
    names = [f"{label}/{index}.jpg" for index, label in enumerate(labels)]
    write_folder(root, dict(zip(names, files, strict=True)))
    return [f"{root}/{name}" for name in names]


def in_shards(root: Path, files: list[bytes], labels: list[int]) -> list[str]:
    for index, (file, label) in enumerate(zip(files, labels, strict=True)):
        write_tar(root / f"{index}.tar", [("k.jpg", file), ("k.cls", str(label).encode())])
    return [f"k in {root}/{index}.tar" for index in range(len(files))]


def in_parquet(root: Path, files: list[bytes], labels: list[int]) -> list[str]:
    write_parquet(root / "train-0.parquet", list(files), list(labels))
    return [f"in row {index} of {root}/train-0.parquet" for index in range(len(files))]


KINDS = [in_folder, in_shards, in_parquet]


@pytest.mark.parametrize("write", KINDS)
def test_broken_images_are_named_and_left_out(tmp_path: Path, write) -> None:
    names = write(tmp_path, FILES, OF_CLASS)
    data = open_dataset(str(tmp_path), "train", image_size=8)
    kept, found = readable(data, progress=False)
    order = [data.describe(index) for index in range(6)]  # a folder's is by class
    assert sorted(image.name for image in found) == sorted(names[index] for index in (1, 3, 5))
    assert [image.index for image in found] == [
        index for index, name in enumerate(order) if name in [each.name for each in found]
    ]
    reasons = {image.name: image.reason for image in found}
    assert "runcated" in reasons[names[1]]
    assert reasons[names[3]] == "it is empty"
    assert reasons[names[5]] == "it is not an image that Pillow knows"
    assert (kept.name, kept.classes) == (data.name, data.classes)
    for index in range(3):
        seed = names.index(kept.describe(index))
        assert kept.labels[index] == OF_CLASS[seed]
        assert levels(kept.whole(index)) == levels(noise_image(12, 10, seed))


def test_a_file_that_vanishes_is_broken(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.png": noise_png(0), "a/1.png": noise_png(1)})
    data = open_dataset(str(tmp_path), image_size=8)
    assert readable(data, progress=False) == (data, [])
    (tmp_path / "a" / "0.png").unlink()
    path = f"{tmp_path}/a/0.png"
    broken = BrokenImage(0, path, "No such file or directory")
    assert readable(data, progress=False)[1] == [broken]


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.png": b"", "a/1.png": b""})
    data = open_dataset(str(tmp_path), image_size=8)
    with pytest.raises(
        InputError, match=r"none of the 2 images of .* can be read; .*0\.png: it is empty"
    ):
        readable(data, progress=False)


class Holed(ImageArrays):
    """Images that cannot be decoded where their level is 255."""

    def whole(self, index: int) -> Image.Image:
        image = super().whole(index)
        if levels(image) == [255]:
            raise BrokenImageError(self.describe(index), "a hole")
        return image


def test_more_images_than_wait_for_a_thread_at_once() -> None:
    """Those at the ends of what is checked at once are found too."""
    images = torch.zeros(AT_ONCE + 2, 1, 1, 1, dtype=torch.uint8)
    holes = [0, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1]
    images[holes] = 255
    data = Holed(images, torch.zeros(len(images)), "a", "many")
    found = readable(data, progress=False)[1]
    assert [image.index for image in found] == holes
    assert found[1] == BrokenImage(AT_ONCE - 1, f"number {AT_ONCE - 1} of 'many'", "a hole")


class Whole(Dataset[list[int]]):
    """The levels of whole images, as a training set that augments would take them."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[int]:
        return levels(self.dataset.whole(index))


@pytest.fixture
def every_kind(tmp_path: Path) -> list[ImageDataset]:
    """Images 0 to 3 in a folder, in shards, in a parquet file, in an array."""
    sets: list[ImageDataset] = []
    for write in KINDS:
        write(tmp_path / write.__name__, [noise_png(seed) for seed in range(4)], [0] * 4)
        sets.append(open_dataset(f"{tmp_path}/{write.__name__}", "train", image_size=8))
    arrays = [torch.from_numpy(np.array(noise_image(12, 10, seed))) for seed in range(4)]
    in_memory = torch.stack(arrays).permute(0, 3, 1, 2)
    sets.append(ImageArrays(in_memory, torch.zeros(4), "a", "array"))
    for each in sets:
        each.whole(0)  # what has been read already must not hinder others
    return sets


@FORKS
@pytest.mark.parametrize(
    ("start", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_worker_processes_read_the_same(
    every_kind: list[ImageDataset], start: str, workers: int
) -> None:
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    loader = DataLoader(
        ConcatDataset([Whole(each) for each in every_kind]),
        batch_size=None,
        sampler=shuffled,
        num_workers=workers,
        multiprocessing_context=start,
    )
    expected = [levels(noise_image(12, 10, index % 4)) for index in shuffled]
    assert [list(image) for image in loader] == expected


def test_selections_and_pickles_read_the_same(every_kind: list[ImageDataset]) -> None:
    for data in every_kind:
        chosen = pickle.loads(pickle.dumps(data)).select(torch.tensor([3, 1]))
        for index, seed in enumerate((3, 1)):
            assert levels(chosen.whole(index)) == levels(noise_image(12, 10, seed))
            if not isinstance(data, ImageArrays):  # which are numbered anew
                assert chosen.describe(index) == data.describe(seed)

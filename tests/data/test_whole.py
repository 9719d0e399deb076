"""Whole images: as stored, from every kind of set, and the same in worker processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from tests.data.pictures import (
    encoded,
    levels,
    noise_image,
    noise_png,
    write_folder,
    write_parquet,
    write_tar,
)
from tests.data.test_seeding import FORKS
from vonenet.data import ImageArrays, ImageDataset, load_embedded, open_dataset
from vonenet.data.remembered import RememberedImages
from vonenet.data.stored_corruptions import open_stored_corruption
from vonenet.errors import InputError


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_arrays(channels: int, mode: str) -> None:
    images = torch.randint(0, 256, (2, channels, 3, 4), dtype=torch.uint8)
    image = ImageArrays(images, torch.zeros(2), "a", "set").whole(1)
    assert (image.mode, image.size) == (mode, (4, 3))
    assert torch.equal(torch.tensor(levels(image)), images[1].permute(1, 2, 0).flatten())


def test_floating_point_is_rounded_to_256_levels() -> None:
    values = [0.0, 0.49 / 255, 0.51 / 255, 127.5 / 255, 254.4 / 255, 1.0]
    for dtype in (torch.float32, torch.float64):
        pixels = torch.tensor(values, dtype=dtype).reshape(1, 1, 1, 6)
        image = ImageArrays(pixels, torch.zeros(1), "a", "set").whole(0)
        assert levels(image) == [0, 0, 1, 128, 254, 255]


def test_two_channels_are_no_picture() -> None:
    with pytest.raises(InputError, match="2 channels; allowed: 1, 3"):
        ImageArrays(torch.zeros(1, 2, 3, 3), torch.zeros(1), "a", "set").whole(0)


def test_bytes_of_arrays_come_back_from_their_pixels() -> None:
    data = load_embedded("test", image_size=32, in_chans=3)
    pixels, _ = data[7]
    assert torch.equal(pixels, torch.tensor(np.asarray(data.whole(7))).permute(2, 0, 1) / 255)


@pytest.mark.parametrize(("in_chans", "mode"), [(1, "L"), (3, "RGB")])
def test_files_are_neither_resized_nor_cropped(tmp_path: Path, in_chans: int, mode: str) -> None:
    write_folder(tmp_path, {"a/0.png": noise_png(0, 30, 47)})
    image = open_dataset(str(tmp_path), image_size=8, in_chans=in_chans).whole(0)
    assert (image.mode, image.size) == (mode, (47, 30))
    assert levels(image) == levels(noise_image(30, 47).convert(mode))


@pytest.mark.parametrize(("in_chans", "mode"), [(1, "L"), (3, "RGB")])
def test_stored_corruptions(tmp_path: Path, in_chans: int, mode: str) -> None:
    write_folder(tmp_path, {"fog/1/a/0.png": noise_png(4)})
    data = open_stored_corruption(tmp_path, "fog", 1, in_chans=in_chans)
    assert levels(data.whole(0)) == levels(noise_image(12, 10, 4).convert(mode))
    assert data.describe(0) == f"{tmp_path}/fog/1/a/0.png"


def test_remembered_images_pass_it_through(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.jpg": encoded(noise_image(9, 7), "JPEG")})
    data = open_dataset(str(tmp_path), image_size=8)
    remembered = RememberedImages(data)
    assert levels(remembered.whole(0)) == levels(data.whole(0))
    assert remembered.describe(0) == data.describe(0) == f"{tmp_path}/a/0.jpg"
    assert remembered.original(0)[1] == encoded(noise_image(9, 7), "JPEG")


class Whole(Dataset[list[int]]):
    """The levels of whole images, as a training set that augments would take them."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[int]:
        return levels(self.dataset.whole(index))


@pytest.fixture
def every_kind(tmp_path: Path) -> ConcatDataset[list[int]]:
    """Images 0 to 3 in a folder, in shards, in parquet files, in an array."""
    pytest.importorskip("pyarrow")
    files = [noise_png(seed) for seed in range(4)]
    write_folder(tmp_path / "f", {f"a/{i}.png": file for i, file in enumerate(files)})
    members = [each for i, f in enumerate(files) for each in ((f"{i}.png", f), (f"{i}.cls", b"0"))]
    write_tar(tmp_path / "s" / "0.tar", members[:4])
    write_tar(tmp_path / "s" / "1.tar", members[4:])
    write_parquet(tmp_path / "p" / "train-0.parquet", list(files), [0] * 4)
    sets = [open_dataset(f"{tmp_path}/{kind}", "train", image_size=8) for kind in "fsp"]
    arrays = [torch.from_numpy(np.array(noise_image(12, 10, seed))) for seed in range(4)]
    in_memory = torch.stack(arrays).permute(0, 3, 1, 2)
    sets.append(ImageArrays(in_memory, torch.zeros(4), "a", "array"))
    for each in sets:
        each.whole(0)  # what has been read already must not hinder the workers
    return ConcatDataset([Whole(each) for each in sets])


@FORKS
@pytest.mark.parametrize(
    ("start", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_worker_processes_read_the_same(
    every_kind: ConcatDataset[list[int]], start: str, workers: int
) -> None:
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    loader = DataLoader(
        every_kind,
        batch_size=None,
        sampler=shuffled,
        num_workers=workers,
        multiprocessing_context=start,
    )
    expected = [levels(noise_image(12, 10, index % 4)) for index in shuffled]
    assert [list(image) for image in loader] == expected

"""Images that cannot be decoded are found, named and left out, whatever they are kept in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.data.pictures import (
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
    ImageArrays,
    find_broken,
    open_dataset,
    readable,
    without_broken,
)
from vonenet.data.broken import AT_ONCE
from vonenet.data.decoding import broken_image
from vonenet.errors import InputError

CUT = encoded(noise_image(40, 40), "JPEG")[:900]
FILES = [noise_png(0), CUT, noise_png(2), b"", noise_png(4), b"<html>"]
LABELS = [0, 1, 2, 0, 1, 2]


def in_folder(root: Path) -> tuple[str, list[str]]:
    names = [f"{label}/{index}.jpg" for index, label in enumerate(LABELS)]
    write_folder(root, dict(zip(names, FILES, strict=True)))
    return str(root), [f"{root}/{name}" for name in names]


def in_shards(root: Path) -> tuple[str, list[str]]:
    for index, (file, label) in enumerate(zip(FILES, LABELS, strict=True)):
        write_tar(root / f"{index}.tar", [("k.jpg", file), ("k.cls", str(label).encode())])
    return str(root), [f"k in {root}/{index}.tar" for index in range(6)]


def in_parquet(root: Path) -> tuple[str, list[str]]:
    write_parquet(root / "train-0.parquet", list(FILES), list(LABELS))
    return str(root), [f"in row {index} of {root}/train-0.parquet" for index in range(6)]


@pytest.mark.parametrize("keep", [in_folder, in_shards, in_parquet])
def test_broken_images_are_named_and_left_out(
    tmp_path: Path, keep: Callable[[Path], tuple[str, list[str]]]
) -> None:
    address, names = keep(tmp_path)
    data = open_dataset(address, "train", image_size=8)
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
        assert kept.labels[index] == LABELS[seed]
        assert levels(kept.whole(index)) == levels(noise_image(12, 10, seed))


def test_a_file_that_vanishes_is_broken(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.png": noise_png(0), "a/1.png": noise_png(1)})
    data = open_dataset(str(tmp_path), image_size=8)
    (tmp_path / "a" / "0.png").unlink()
    path = f"{tmp_path}/a/0.png"
    assert find_broken(data, progress=False) == [BrokenImage(0, path, "No such file or directory")]


def test_a_set_in_order_is_the_same_set(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.png": noise_png(0)})
    data = open_dataset(str(tmp_path), image_size=8)
    assert readable(data, progress=False) == (data, [])


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
            raise broken_image(self.describe(index), "a hole")
        return image


def test_more_images_than_wait_for_a_thread_at_once() -> None:
    """Those at the ends of what is checked at once are found too."""
    images = torch.zeros(AT_ONCE + 2, 1, 1, 1, dtype=torch.uint8)
    holes = [0, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1]
    images[holes] = 255
    data = Holed(images, torch.zeros(len(images)), "a", "many")
    found = find_broken(data, progress=False)
    assert [image.index for image in found] == holes
    assert found[1] == BrokenImage(AT_ONCE - 1, f"number {AT_ONCE - 1} of 'many'", "a hole")


def test_what_one_process_finds_another_leaves_out() -> None:
    """Indices are all that has to be sent."""
    images = torch.arange(9, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    data = ImageArrays(images, torch.zeros(9), "a", "few")
    kept = without_broken(data, [BrokenImage(index, "", "") for index in (8, 0, 3)])
    assert [levels(kept.whole(index)) for index in range(6)] == [[1], [2], [4], [5], [6], [7]]

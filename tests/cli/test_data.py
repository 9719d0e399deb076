"""What a set holds: every number counted by hand, in lines that fit a terminal."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.pictures import encoded, noise_image, noise_png, write_folder
from vonenet.cli.data import Data, inspect_data
from vonenet.data import ImageArrays, load_embedded, open_dataset
from vonenet.data.decoding import FORMATS
from vonenet.errors import InputError


def inspected(folder):
    return inspect_data(open_dataset(str(folder), ("train", "all"), image_size=8), progress=False)


def test_a_set_of_all_sorts(tmp_path):
    """Three classes and an empty one; nine files in several forms, two broken, two repeated."""
    photo = noise_image(20, 30)
    files = {
        "ant/0.jpg": encoded(photo, "JPEG"),
        "ant/1.png": encoded(photo.convert("L")),
        "ant/2.png": encoded(photo.convert("RGBA")),
        "ant/3.jpg": b"",
        "ant/4.jpg": b"<html>",
        "bee/0.png": noise_png(5, height=2, width=3),
        "cow/0.png": noise_png(5, height=2, width=3),
        "cow/1.png": encoded(photo.convert("P")),
        "cow/2.png": encoded(noise_image(90, 10)),
        "cow/notes.txt": b"",
        "cow/2.csv": b"",
        "cow/3.csv": b"",
    }
    write_folder(tmp_path / "train", files)
    (tmp_path / "train" / "dog").mkdir()
    assert inspected(tmp_path) == [
        f"{tmp_path}/train",
        "9 images, all of them opened",
        "",
        "splits    train",
        "classes   4, with 0 to 5 (median 2) images each",
        "          1 without an image: dog",
        "sizes     smallest 3 x 2, median 30 x 20, largest 10 x 90",
        "modes     RGB 4 (57.1 %), L 1 (14.3 %), RGBA 1 (14.3 %), P 1 (14.3 %)",
        "formats   PNG 6 (85.7 %), JPEG 1 (14.3 %)",
        "not read  2 csv",
        "          1 txt",
        "broken    2 cannot be decoded",
        "          ant/3.jpg: it is empty",
        f"          ant/4.jpg: it is no image of a kind that is read: {', '.join(FORMATS)}",
        "repeated  1 with the same pixels as one before",
        "          bee/0.png = cow/0.png, under different labels",
    ]


def test_some_of_many_and_more_than_two_copies():
    text = inspect_data(load_embedded("train", in_chans=1), check_all=False, progress=False)
    assert "10,000 images, 2,000 of them, spread over the set, opened" in text
    assert "classes   10, with 1,000 images each" in text
    assert "modes     L 2,000 (100 %)" in text
    assert "formats   array 2,000 (100 %)" in text
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    text = inspect_data(ImageArrays(images, torch.zeros(5), "a", "x 2px"), progress=False)
    assert "repeated  4 with the same pixels as one before" in text
    assert "          number 0 of 'x 2px' = number 1 of 'x 2px' = 3 more" in text


def test_the_command_says_what_it_looked_at(tmp_path, capsys):
    """Of data of several parts the training part, else the test part; of one part all."""
    deep = encoded(Image.fromarray(np.full((4, 4), 65535, np.uint16)))
    for place, part in (("parts/val", "val"), ("parts/train", "train"), ("one", "all")):
        write_folder(tmp_path / place, {"cat/a.png": deep, "cat/b.heic": b""})
        address = str(tmp_path / place.partition("/")[0])
        Data("inspect", address).run()
        out = capsys.readouterr().out
        assert out.startswith(f"{address}/{part}\n")
        assert "modes     I;16 1 (100 %)" in out
        assert "not read  1 heic" in out
    with pytest.raises(InputError, match="no split 'banana' in .*; there: train, val"):
        Data("inspect", str(tmp_path / "parts"), split="banana").run()


def test_classes_of_one_name_are_named():
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    data = ImageArrays(images, torch.tensor([0, 1, 2, 3]), ("cat", "dog", "Cat", "dog"), "x 2px")
    text = inspect_data(data, progress=False)
    assert "          4 with the name of another: 'cat', 'dog', 'Cat', 'dog'" in text

"""Remembered images: the same pixels, asked for once."""

import torch

from vonenet.data import ImageArrays
from vonenet.data.remembered import RememberedImages


class Counted(ImageArrays):
    asked = 0

    def __getitem__(self, index):
        type(self).asked += 1
        return super().__getitem__(index)


def made(images):
    Counted.asked = 0
    return Counted(images, torch.arange(len(images)) % 2, ["a", "b"], "counted")


def test_bytes_are_decoded_once_and_stay_the_same():
    images = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    dataset = made(images)
    remembered = RememberedImages(dataset)
    for _ in range(3):
        for index in range(4):
            pixels, label = remembered[index]
            assert torch.equal(pixels, images[index].float() / 255)
            assert label == index % 2
    assert Counted.asked == 4
    assert (remembered.name, remembered.classes, len(remembered)) == ("counted", ("a", "b"), 4)


def test_what_bytes_cannot_hold_is_asked_for_again():
    images = torch.rand(2, 1, 8, 8)
    remembered = RememberedImages(made(images))
    assert torch.equal(remembered[0][0], images[0])
    assert torch.equal(remembered[0][0], images[0])
    assert Counted.asked == 2


def test_no_more_is_kept_than_there_is_room_for():
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    remembered = RememberedImages(made(images), most_bytes=2 * 64)
    for _ in range(2):
        for index in range(4):
            assert remembered[index][0].shape == (1, 8, 8)
    assert Counted.asked == 4 + 2


def test_a_selection_keeps_its_order():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    chosen = RememberedImages(made(images)).select(torch.tensor([3, 1]))
    assert [float(chosen[i][0] * 255) for i in range(2)] == [3, 1]

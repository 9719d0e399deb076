"""Decoding: every mode to grey or RGB, and what is broken is named with its reason."""

import contextlib
import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from tests.data.pictures import FORKS, encoded, levels, noise_image, write_folder
from vonenet.data import BrokenImageError, open_dataset
from vonenet.data.decoding import as_channels, decode
from vonenet.errors import InputError

JPEG = encoded(noise_image(64, 64), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>not found</html>", "it is not an image that Pillow knows"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:100], "."),
        (encoded(noise_image(64, 64))[:-2000], "truncated"),
        (b"P6\n64 64\n25x\n", "invalid literal"),  # ValueError
        (b"P6\n99999 99999\n255\n", "exceeds limit"),  # DecompressionBombError
    ],
)
def test_what_is_broken_is_named(content, reason):
    with pytest.raises(BrokenImageError, match=f"image a/b cannot be read: .*{reason}") as caught:
        decode(content, "a/b")
    error = caught.value
    assert isinstance(error, InputError)
    assert "\n" not in str(error)
    assert str(error) == f"image {error.image} cannot be read: {error.reason}"


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is no longer as it was
@settings(deadline=None, max_examples=60)  # a header may ask for a large image
@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"]), st.data())
def test_damage_raises_nothing_else(kind, data):
    content = bytearray(encoded(noise_image(8, 8), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BrokenImageError):
        as_channels(decode(bytes(content), "it"), 3)


@FORKS
def test_the_error_of_a_worker_process_is_the_same_line(tmp_path, monkeypatch):
    # torch waits so many seconds, 5, for a worker that met an error
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    write_folder(tmp_path, {"a/0.png": JPEG[:900]})
    data = open_dataset(str(tmp_path), image_size=8)
    with pytest.raises(BrokenImageError, match=f"^image {tmp_path}/a/0.png cannot be") as here:
        data[0]
    with pytest.raises(BrokenImageError) as there:
        list(DataLoader(data, num_workers=1))
    assert str(there.value) == str(here.value)
    del there
    gc.collect()  # the loader waits now


def test_bits_16_keep_their_range():
    deep = Image.fromarray(np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16))
    stored = decode(encoded(deep), "deep")
    assert levels(as_channels(stored, 1)) == [0, 0, 1, 128, 255]
    assert levels(as_channels(stored, 3))[::3] == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_modes_become_grey_or_rgb_as_pillow_makes_them(mode):
    image = noise_image(6, 5).convert(mode)
    for in_chans, wanted in ((1, "L"), (3, "RGB")):
        assert as_channels(image, in_chans).mode == wanted
        assert levels(as_channels(image, in_chans)) == levels(image.convert(wanted))


def test_transparent_palettes_do_not_warn_and_lab_becomes_grey_by_way_of_rgb():
    image = Image.frombytes("P", (2, 1), b"\0\1")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = b"\0\x80"
    assert levels(as_channels(image, 3)) == [10, 20, 30, 40, 50, 60]
    lab = Image.new("LAB", (1, 1), (128, 128, 128))
    assert levels(as_channels(lab, 1)) == [pytest.approx(119, abs=2)]  # of half the lightness

"""Decoding: every mode to grey or RGB, and what is broken is named with its reason."""

import contextlib
import gc
import io
import struct
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from tests.data.pictures import FORKS, encoded, levels, noise_image, write_folder
from vonenet.data import BrokenImageError, open_dataset
from vonenet.data.decoding import FORMATS, as_channels, decode, stored_mode
from vonenet.errors import InputError

JPEG = encoded(noise_image(64, 64), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>not found</html>", "it is no image of a kind that is read: BMP, GIF, JPEG"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:100], "."),
        (encoded(noise_image(64, 64))[:-2000], "truncated"),
        (b"P6\n64 64\n25x\n", "invalid literal"),  # ValueError
        (b"P6\n99999 99999\n255\n", "exceeds limit"),  # DecompressionBombError
        (b"P4\n8000 12000\n", "exceeds limit"),  # of which Pillow only warns
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


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("kind", FORMATS)
def test_files_that_are_cut_off_are_refused_in_every_format(kind, cut):
    content = encoded(noise_image(64, 64), kind)
    with pytest.raises(BrokenImageError):
        decode(content[: int(cut * len(content))], "cut")


TIFF_DEEP = [
    (np.uint16, [0, 255, 256, 32768, 65535], "I;16"),
    (np.int32, [0, 2**23 - 1, 2**23, 2**30, 2**31 - 1], "I"),
    (np.uint32, [0, 2**24 - 1, 2**24, 2**31, 2**32 - 1], "I"),
    (np.float32, [0, 0.001, 1 / 255, 0.502, 1], "F"),
]


@pytest.mark.parametrize(
    ("kind", "dtype", "values", "mode"),
    [*(("TIFF", *deep) for deep in TIFF_DEEP), *((k, *TIFF_DEEP[0]) for k in ("PNG", "PPM"))],
)
def test_white_is_the_largest_number_of_a_type(kind, dtype, values, mode):
    """Pillow cuts what is deeper than 8 bits off at level 255, which is white everywhere."""
    file = io.BytesIO()
    Image.fromarray(np.array([values], dtype=dtype)).save(file, kind)
    content = file.getvalue()
    if dtype is np.uint32:  # which Pillow writes as signed: the tag of the sample format is 339
        signed, unsigned = (b"\x53\x01\x03\0\1\0\0\0" + bytes([each]) for each in (2, 1))
        assert content.count(signed) == 1
        content = content.replace(signed, unsigned)
    stored = decode(content, "deep")
    assert levels(as_channels(stored, 1)) == [0, 0, 1, 128, 255]
    assert levels(as_channels(stored, 3))[::3] == [0, 0, 1, 128, 255]
    assert (stored.format, stored_mode(stored)[:2]) == (kind, "I" if kind == "PPM" else mode[:2])


@pytest.mark.parametrize(
    ("dtype", "values", "reason"),
    [
        (np.float32, [0, 255], "its levels run from 0 to 255; allowed: 0 to 1"),
        (np.float32, [0, np.nan], "its levels run from nan to nan"),
        (np.float32, [-0.5, 3e38], "its levels run from -0.5 to 3e"),
        (np.uint16, [0, 255], "its largest level is 255, and white is 65535: it would be black"),
        (np.int32, [0, 65535], "its largest level is 65535, and white is 2147483647"),
        (np.int32, [-1, 2**30], "its levels run from -1 to"),
    ],
)
def test_levels_of_an_unknown_scale_are_refused(dtype, values, reason):
    content = encoded(Image.fromarray(np.array([values], dtype=dtype)), "TIFF")
    with pytest.raises(BrokenImageError, match=f"image it cannot be read: {reason}"):
        decode(content, "it")


def tiff_of_two_levels(bits, photometric, levels):
    """Return a little-endian TIFF of 2 x 1 grey levels, which are packed in `levels`."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 110)]
    tags += [(278, 1), (279, len(levels))]
    listed = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed + bytes(4) + levels


def test_levels_of_12_bits_have_a_white_of_their_own_and_none_are_inverted():
    half = decode(tiff_of_two_levels(12, 1, b"\xff\xf8\x00"), "packed")
    assert levels(half) == [255, 128]
    with pytest.raises(BrokenImageError, match="its level 0 is white"):
        decode(tiff_of_two_levels(16, 0, b"\xff\xff\0\x80"), "inverted")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(kind, orientation):
    """As EXIF says: 6 is a camera held upright, whose rows are columns."""
    upright = noise_image(16, 24).resize((96, 64), Image.Resampling.NEAREST)
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored = upright if undo is None else upright.transpose(undo)
    stored.save(file, kind, exif=exif, **({"quality": 100} if kind in ("JPEG", "WEBP") else {}))
    seen = decode(file.getvalue(), "photo")
    assert seen.size == (96, 64)
    difference = np.asarray(seen.convert("RGB")).astype(int) - np.asarray(upright)
    assert np.abs(difference).mean() < (20 if kind in ("JPEG", "WEBP") else 0.01)


def test_a_damaged_note_does_not_hide_the_picture():
    content = encoded(noise_image(8, 8), "JPEG")
    note = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9
    marked = content[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + content[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of the note
        assert levels(decode(marked, "it")) == levels(decode(content, "it"))


def test_the_first_of_several_pictures_is_read():
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        file = io.BytesIO()
        first.save(file, kind, save_all=True, append_images=[second])
        red, green, blue = levels(as_channels(decode(file.getvalue(), kind), 3))[:3]
        assert red > 240
        assert max(green, blue) < 10


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("content", [EPS, b"%PDF-1.4\n", encoded(noise_image(4, 4), "ICO")])
def test_other_formats_start_no_program_whatever_their_suffix(tmp_path, content, monkeypatch):
    """Pillow gives an EPS file, whatever it is called, to Ghostscript."""
    write_folder(tmp_path, {"a/photo.png": content, ".bin/gs": b"#!/bin/sh\necho 10\n"})
    (tmp_path / ".bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / ".bin"), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # which it has not looked for yet
    events = []
    watching = True

    def hook(event, _):
        if watching and event.startswith(("subprocess", "os.exec", "os.posix_spawn", "os.system")):
            events.append(event)

    sys.addaudithook(hook)
    with pytest.raises(BrokenImageError) as caught:
        open_dataset(str(tmp_path), image_size=8)[0]
    watching = False
    assert events == []
    assert "photo.png cannot be read: it is no image of a kind" in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_modes_become_grey_or_rgb_as_pillow_makes_them(mode):
    image = noise_image(6, 5).convert(mode)
    for in_chans, wanted in ((1, "L"), (3, "RGB")):
        assert as_channels(image, in_chans).mode == wanted
        assert levels(as_channels(image, in_chans)) == levels(image.convert(wanted))


def test_what_is_transparent_is_grey():
    """The colours below are whatever a program left there, usually black."""
    palette = Image.frombytes("P", (2, 1), b"\0\1")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.info["transparency"] = b"\0\x80"
    assert levels(as_channels(palette, 3)) == [128, 128, 128, 84, 89, 94]
    colours = Image.fromarray(np.array([[[9, 8, 7, 0], [9, 8, 7, 255]]], np.uint8))
    assert levels(as_channels(colours, 3)) == [128, 128, 128, 9, 8, 7]
    grey = Image.fromarray(np.array([[[0, 0], [255, 0], [40, 255]]], np.uint8), "LA")
    assert levels(as_channels(grey, 1)) == [128, 128, 40]
    keyed = Image.fromarray(np.array([[5, 6]], np.uint8))
    keyed.info["transparency"] = 5
    assert levels(as_channels(decode(encoded(keyed), "keyed"), 1)) == [128, 6]


def test_lab_becomes_grey_by_way_of_rgb():
    lab = Image.new("LAB", (1, 1), (128, 128, 128))
    assert levels(as_channels(lab, 1)) == [pytest.approx(119, abs=2)]  # of half the lightness

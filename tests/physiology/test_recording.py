"""Recordings on disk: what is written is read, whole or not at all."""

import dataclasses
import json
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from tests.physiology.recorded import recorded
from vonenet.errors import InputError
from vonenet.physiology.recording import read_recording, save_recording


@pytest.fixture(scope="module")
def recording():
    return recorded(model="planted/<b>", layer="units")


def assert_same(one, other, coarse=False):
    """Equal down to every array; curves and maps as far as half their digits go."""
    if dataclasses.is_dataclass(one):
        one, other = vars(one), vars(other)
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key, value in one.items():
            assert_same(value, other[key], coarse or key in ("curves", "maps"))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second, coarse)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-6 if coarse else 0, atol=0)
    else:
        assert one == other or (one != one and other != other)


def test_what_is_written_is_read(recording, tmp_path):
    path = tmp_path / "deep" / "recording.npz"
    for each in (recording, dataclasses.replace(recording, ground_truth=None)):
        save_recording(each, path)
        assert_same(each, read_recording(path))
        assert list(path.parent.iterdir()) == [path]


def test_arrays_have_names_for_whoever_reads_them_with_numpy_alone(recording, tmp_path):
    path = tmp_path / "recording.npz"
    save_recording(recording, path)
    with np.load(path) as arrays:
        bandwidth = arrays["populations/orientation/properties/bandwidth"]
        about = json.loads(str(arrays["about"]))
    expected = recording.populations["orientation"].properties["bandwidth"]
    np.testing.assert_array_equal(bandwidth, expected)
    assert about["layer"] == "units"


def test_files_that_are_no_recording_are_named(recording, tmp_path):
    path = tmp_path / "recording.npz"
    with pytest.raises(InputError, match=r"recording.npz cannot be read: No such file"):
        read_recording(path)
    save_recording(recording, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="recording.npz is no recording"):
        read_recording(path)
    np.savez(path, units=np.zeros(3))
    with pytest.raises(InputError, match="recording.npz is no recording: KeyError"):
        read_recording(path)
    np.savez(path, about=np.array(json.dumps({"format": 99})))
    with pytest.raises(InputError, match="format 99; allowed: 2"):
        read_recording(path)


def test_a_folder_that_cannot_be_written_is_named(recording, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_recording(recording, tmp_path / "file" / "recording.npz")


def hostile(recording, path, change):
    """A recording of which `change` alters the arrays and what is said about them."""
    save_recording(recording, path)
    with np.load(path) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays["about"]))
    change(arrays, about)
    np.savez(path, **(arrays | {"about": np.array(json.dumps(about))}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: a.update({"spontaneous": np.zeros(3)}), r"spontaneous is float64 \(3,\)"),
        (
            lambda a, b: a.update({"populations/size/properties/c": np.zeros(()), "units": 0}),
            "units is",
        ),
        (lambda a, b: b["populations"].update(size={}), "ValidationError"),
        (lambda a, b: b.update(units={"array": "nowhere"}), "KeyError"),
    ],
)
def test_recordings_that_contradict_themselves_are_refused(recording, tmp_path, change, message):
    path = tmp_path / "recording.npz"
    hostile(recording, path, change)
    with pytest.raises(InputError, match=message) as error:
        read_recording(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", ["(1000000000000000,)", "(-1,)", "(4611686018427387904, 8)"])
def test_shapes_that_no_memory_holds_are_refused(recording, tmp_path, shape):
    save_recording(recording, path := tmp_path / "recording.npz")
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("huge.npy", npy)
    with pytest.raises(InputError, match="is no recording") as error:
        read_recording(path)
    assert "\n" not in str(error.value)


def test_a_small_file_that_unpacks_to_more_than_memory_is_refused(recording, tmp_path, monkeypatch):
    monkeypatch.setattr("vonenet.physiology.recording.LARGEST_FILE", 10_000)
    save_recording(recording, path := tmp_path / "recording.npz")
    with pytest.raises(InputError, match="GiB; allowed"):
        read_recording(path)


def test_a_recording_with_any_byte_changed_is_read_or_refused(recording, tmp_path):
    save_recording(recording, path := tmp_path / "recording.npz")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed[: rng.integers(place, len(content)) if place % 3 == 0 else None])
        with suppress(InputError):
            read_recording(path)

"""Recorded responses from files: every kind, and what is wrong with them in one line."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vonenet.cli.predictivity import _content_digest
from vonenet.data import BrokenImageError
from vonenet.errors import InputError
from vonenet.physiology.neural_data import (
    arrange,
    checked_responses,
    image_files,
    read_images,
    read_responses,
)
from vonenet.physiology.stimuli import Canvas

FLAT = np.random.default_rng(0).random((6, 4))
REPEATED = np.random.default_rng(1).random((3, 6, 4))


@pytest.fixture
def xarray():
    return pytest.importorskip("xarray")


@pytest.mark.parametrize("array", [FLAT, REPEATED, FLAT.astype(np.float32), REPEATED > 0.5])
def test_numpy_files(tmp_path, array):
    np.save(tmp_path / "one.npy", array)
    np.savez(tmp_path / "one.npz", array)
    for name in ("one.npy", "one.npz"):
        found, names = read_responses(tmp_path / name)
        assert names is None
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, array)


DIMENSIONS = ("repetition", "presentation", "neuroid")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_netcdf_files_of_any_order_name_their_stimuli(tmp_path, xarray, order):
    path, names = tmp_path / "responses.nc", list("fedcba")
    dims = [DIMENSIONS[i] for i in order]
    array = xarray.DataArray(REPEATED.transpose(order), dims=dims)
    array.assign_coords(stimulus_id=("presentation", names)).to_netcdf(path)
    responses, found = read_responses(path)
    np.testing.assert_array_equal(responses, REPEATED)
    assert found == names


@pytest.mark.parametrize(
    ("array", "dims", "message"),
    [
        (FLAT, ("a", "b"), "a.*allowed"),
        (REPEATED, ("time_bin", *DIMENSIONS[1:]), "'time_bin': 3"),
        (FLAT, DIMENSIONS[1:], "6 presentations show 3 stimuli"),
    ],
)
def test_other_dimensions_and_stimuli_shown_twice_are_refused(xarray, array, dims, message):
    coords = {"stimulus_id": ("presentation", [*"abcabc"])} if "presentation" in dims else {}
    with pytest.raises(InputError, match=message):
        arrange(xarray.DataArray(array, dims=dims, coords=coords))
    one_bin = xarray.DataArray(FLAT[..., None], dims=("presentation", "neuroid", "time_bin"))
    np.testing.assert_array_equal(arrange(one_bin), FLAT)


@pytest.mark.parametrize("suffix", ["npz", "nc"])
def test_files_with_several_arrays_say_which(tmp_path, xarray, suffix):
    for names in (("a", "responses"), ("a", "b")):
        path, arrays = (
            tmp_path / f"{names[1]}.{suffix}",
            dict(zip(names, (FLAT, 2 * FLAT), strict=True)),
        )
        if suffix == "npz":
            np.savez(path, **arrays)
        else:
            xarray.Dataset({n: (DIMENSIONS[1:], a) for n, a in arrays.items()}).to_netcdf(path)
    np.testing.assert_array_equal(read_responses(tmp_path / f"responses.{suffix}")[0], 2 * FLAT)
    with pytest.raises(InputError, match=r"\['a', 'b'\].*'responses'"):
        read_responses(tmp_path / f"b.{suffix}")


def test_without_xarray_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "a.nc").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(InputError, match=r"pip install 'vonenet\[xarray\]'"):
        read_responses(tmp_path / "a.nc")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.nc"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 rubbish", b"\x89HDF\r\n\x1a\n", b"text"])
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    if name == "a.nc":
        pytest.importorskip("xarray")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read") as error:
        read_responses(tmp_path / name)
    assert "\n" not in str(error.value)


def test_files_that_are_missing_unknown_or_pickled_are_refused(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    for name, message in (
        ("none.npy", "do not exist"),
        ("responses.csv", "unknown kind"),
        ("pickled.npy", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            read_responses(tmp_path / name)


HOLES = np.where(np.isin(np.arange(24).reshape(6, 4), (9, 13)), np.inf, FLAT)


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        *(
            (np.ones(shape), r"allowed: \(stimuli, units\)")
            for shape in ((6,), (1, 3, 6, 4), (0, 4))
        ),
        (HOLES, r"2 responses of 1 units are infinite.*\(2, 1\)"),
        ([["a", "b"]], "numbers"),
    ],
)
def test_other_shapes_and_what_is_no_number_are_refused(responses, message):
    with pytest.raises(InputError, match=message):
        checked_responses(responses)


def test_missing_and_masked_responses_are_nan(tmp_path):
    holes = np.where(np.isinf(HOLES), np.nan, HOLES)
    np.save(tmp_path / "holes.npy", holes)
    np.testing.assert_array_equal(read_responses(tmp_path / "holes.npy")[0], holes)
    masked = np.ma.masked_array(FLAT, np.isinf(HOLES))
    np.testing.assert_array_equal(checked_responses(masked), holes)
    whole = np.ma.masked_array(np.arange(6).reshape(3, 2), [[0, 1], [0, 0], [0, 0]])
    np.testing.assert_array_equal(checked_responses(whole), [[0, np.nan], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("files", "names", "message"),
    [
        (["s1.png", "s2.png", "s10.png"], None, "s2.png or s10.png may come first"),
        (["A2.png", "a1.png", "a3.png"], None, "A2.png or a1.png may come first"),
        (["a.png", "a.jpg", "b.png"], ["b", "a"], "'a' may be a.jpg and a.png"),
        (["a.png", "b.png"], ["b", "a", "b"], "1 images are named .* first is b.png"),
        (["a.png", "b.png"], ["b.png", "b"], "1 images are named"),
    ],
)
def test_an_uncertain_order_is_refused(tmp_path, files, names, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message) as error:
        image_files(tmp_path, names)
    assert "\n" not in str(error.value)


def test_a_certain_order_is_taken(tmp_path):
    for name in ("s10.png", "s2.jpg", "s1.png", "._s1.png"):
        (tmp_path / name).touch()
    found = image_files(tmp_path, ["s10", "s1.png", "s2"])
    assert [path.name for path in found] == ["s10.png", "s1.png", "s2.jpg"]
    for number, name in ((1, "s1.png"), (2, "s2.jpg")):
        (tmp_path / name).rename(tmp_path / f"s{number:02}.png")
    assert [path.name for path in image_files(tmp_path)] == ["s01.png", "s02.png", "s10.png"]


def test_names_are_one_for_each_stimulus_in_any_type_of_text(tmp_path):
    np.savez(tmp_path / "a.npz", responses=FLAT, stimuli=np.array(list("abcdef"), "S"))
    assert read_responses(tmp_path / "a.npz")[1] == list("abcdef")
    np.savez(tmp_path / "a.npz", responses=FLAT, stimuli=np.array(list("abcde")))
    with pytest.raises(InputError, match="names 5 stimuli and holds responses to 6"):
        read_responses(tmp_path / "a.npz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_among_the_images_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (
        lambda path: next(read_images([path], Canvas(2.0, 32, 1), 2.0)),
        lambda path: _content_digest(FLAT, [path]),
    ):
        with ThreadPoolExecutor(1) as pool, pytest.raises(BrokenImageError, match="a pipe"):
            pool.submit(read, tmp_path / "a.png").result(timeout=20)


def test_images_are_of_every_kind_that_is_decoded(tmp_path):
    (tmp_path / "a.GIF").touch()
    assert [path.name for path in image_files(tmp_path)] == ["a.GIF"]

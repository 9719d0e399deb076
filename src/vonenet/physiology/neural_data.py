"""Recorded responses, from a file or an array: (stimuli, units), or one such per repetition."""

import importlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError

Array = npt.NDArray[np.float64]

NAME = "responses"  # of the array in a file that holds several
NAMES = "stimuli"  # of the array of the stimuli's names
REPETITIONS = ("repetition", "repetitions", "repeat", "trial", "trials")
STIMULI = ("presentation", "stimulus", "stimuli", "stimulus_id", "image", "image_id")
UNITS = ("neuroid", "neuroid_id", "neuron", "neurons", "unit", "units", "cell")
STIMULUS_IDS = ("stimulus_id", "image_id")
# What numpy's and xarray's readers raise on damaged files
UNREADABLE = (OSError, ValueError, EOFError, ImportError, zipfile.BadZipFile, zlib.error)
ALLOWED = "allowed: .npy, .npz with an array 'responses' (or one array), .nc written by xarray"


def read_responses(path: Path | str) -> Array:
    """Reads recorded responses from a file.

    Args:
        path: of a .npy or .npz file, or of a .nc file (netCDF) as xarray writes it, whose
            dimensions may stand in any order but must bear names as in `arranged`.

    Returns:
        (stimuli, units), or (repetitions, stimuli, units).

    Raises:
        InputError: If the file is missing, damaged or of another kind, if xarray is needed and
            missing, or if `checked_responses` refuses what it holds.
    """
    path = Path(path)
    readers = {".npy": _read_numpy, ".npz": _read_numpy, ".nc": _read_netcdf}
    if path.suffix not in readers:
        raise InputError(f"responses {path} are of an unknown kind; {ALLOWED}")
    if not path.is_file():
        raise InputError(f"responses {path} do not exist; {ALLOWED}")
    return checked_responses(readers[path.suffix](path))


def read_stimulus_names(path: Path | str) -> list[str] | None:
    """The stimuli's names in the order of a file's responses, if it holds them.

    They are a .npz file's array "stimuli", or a .nc file's coordinate "stimulus_id" or "image_id".

    Raises:
        InputError: If the file cannot be read.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _numpy_names(path)
    return _netcdf_names(path) if path.suffix == ".nc" else None


def checked_responses(responses: npt.ArrayLike) -> Array:
    """Responses in double precision.

    Raises:
        InputError: If they are no numbers, have another shape than (stimuli, units) or
            (repetitions, stimuli, units), are empty, or one of them is not finite.
    """
    array = np.asarray(responses)
    if array.dtype.kind not in "biuf":
        raise InputError(f"responses are of type {array.dtype}; allowed: numbers")
    if array.ndim not in (2, 3) or not array.size:
        raise InputError(
            f"responses have shape {array.shape}; "
            "allowed: (stimuli, units) or (repetitions, stimuli, units)"
        )
    array = array.astype(np.float64)
    unusable = np.argwhere(~np.isfinite(array))
    if len(unusable):
        units = len(np.unique(unusable[:, -1]))
        raise InputError(
            f"{len(unusable)} responses of {units} units are not finite, the first at index "
            f"{tuple(unusable[0].tolist())}; allowed: numbers (leave those units out)"
        )
    return array


def arranged(array: Any) -> Array:
    """The values of an xarray.DataArray as (stimuli, units) or (repetitions, stimuli, units).

    Dimensions are told by their names: those of Brain-Score ("presentation", "neuroid",
    "repetition") and the plain words in `STIMULI`, `UNITS`, `REPETITIONS`. Others must have length
    1, as a single time bin has.

    Raises:
        InputError: If a dimension is missing or unknown, or a stimulus stands there twice.
    """
    found = [
        [dim for dim in array.dims if str(dim) in names] for names in (REPETITIONS, STIMULI, UNITS)
    ]
    known = [dim for each in found for dim in each]
    longer = [dim for dim in array.dims if dim not in known and array.sizes[dim] > 1]
    if longer or len(found[0]) > 1 or len(found[1]) != 1 or len(found[2]) != 1:
        raise InputError(
            f"responses have dimensions {dict(array.sizes)}; allowed: one of {STIMULI}, one of "
            f"{UNITS}, if need be one of {REPETITIONS}, and others of length 1"
        )
    for name in STIMULUS_IDS:
        if name in array.coords and array.coords[name].dims == (found[1][0],):
            ids = np.asarray(array.coords[name].values)
            if len(np.unique(ids)) < len(ids):
                raise InputError(
                    f"{len(ids)} presentations show {len(np.unique(ids))} stimuli (coordinate "
                    f"{name}); allowed: each stimulus once, its repetitions in a dimension of "
                    "their own"
                )
    single = [dim for dim in array.dims if dim not in known]
    values: Array = array.squeeze(single, drop=True).transpose(*known).values
    return values


def _read_numpy(path: Path) -> npt.NDArray[Any]:
    with _reading(path), path.open("rb") as stream:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            others = [name for name in loaded if name != NAMES]
            array: npt.NDArray[Any] = loaded[_chosen(others, path)]
            return array


def _numpy_names(path: Path) -> list[str] | None:
    with _reading(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as loaded:
        return [str(name) for name in loaded[NAMES]] if NAMES in loaded else None


def _chosen(names: list[str], path: Path) -> str:
    """The array to take from a file: the only one, or that named "responses"."""
    name = names[0] if len(names) == 1 else NAME
    if name not in names:
        raise InputError(f"{path} holds {names}; allowed: one of them named {NAME!r}")
    return name


def _read_netcdf(path: Path) -> Array:
    xarray = _xarray(path)
    with _reading(path), xarray.open_dataset(path) as file:
        return arranged(_array_of(file, path))


def _netcdf_names(path: Path) -> list[str] | None:
    xarray = _xarray(path)
    with _reading(path), xarray.open_dataset(path) as file:
        coordinates = _array_of(file, path).coords
        found = [coordinates[name].values for name in STIMULUS_IDS if name in coordinates]
    return [str(name) for name in found[0]] if found else None


def _array_of(file: Any, path: Path) -> Any:
    return file[_chosen([str(name) for name in file.data_vars], path)]


def _xarray(path: Path) -> Any:
    try:
        return importlib.import_module("xarray")
    except ImportError as error:
        raise InputError(
            f"{path} needs xarray, which is not installed: pip install 'vonenet[xarray]'"
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Within: what is wrong with a file becomes one line."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        message = str(error).partition("\n")[0]
        raise InputError(f"responses {path} cannot be read: {message}") from error

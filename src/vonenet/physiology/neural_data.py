"""Read recorded responses, (stimuli, units) or one such per repetition, and their stimuli."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from vonenet.data.decoding import as_channels, as_pixels, decode
from vonenet.errors import InputError
from vonenet.physiology.recording import Array
from vonenet.physiology.stimuli import Canvas

NAME = "responses"  # of the array in a file that holds several
NAMES = "stimuli"  # of the array of the stimuli's names
REPETITION, STIMULUS, UNIT = "repetition", "presentation", "neuroid"  # Brain-Score's dimensions
STIMULUS_IDS = ("stimulus_id", "image_id")  # names of coordinates
# What numpy's and xarray's readers raise on damaged files
UNREADABLE = (OSError, ValueError, EOFError, ImportError, zipfile.BadZipFile, zlib.error)
ALLOWED = "allowed: .npy, .npz with an array 'responses' (or one array), .nc written by xarray"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
GREY = 128  # level of what a stimulus does not fill


def read_responses(path: Path | str) -> tuple[Array, list[str] | None]:
    """Read recorded responses, and the names of their stimuli if the file holds them.

    Args:
        path: Of a .npy or .npz file, or of a .nc file (netCDF) as xarray writes it, with dimensions
            as in `arrange`. Names are a .npz file's array "stimuli", or a .nc file's coordinate
            "stimulus_id" or "image_id".

    Returns:
        (stimuli, units) or (repetitions, stimuli, units), and the stimuli's names or None.

    Raises:
        InputError: The file is missing, damaged or of another kind; xarray is needed and missing;
            or `checked_responses` refuses what it holds.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".npz", ".nc"):
        raise InputError(f"responses {path} are of an unknown kind; {ALLOWED}")
    if not path.is_file():
        raise InputError(f"responses {path} do not exist; {ALLOWED}")
    try:
        responses, names = _read_netcdf(path) if path.suffix == ".nc" else _read_numpy(path)
    except InputError:
        raise
    except UNREADABLE as error:
        message = str(error).partition("\n")[0]
        raise InputError(f"responses {path} cannot be read: {message}") from error
    return checked_responses(responses), None if names is None else [str(name) for name in names]


def checked_responses(responses: npt.ArrayLike) -> Array:
    """Return responses in double precision.

    Raises:
        InputError: They are no numbers, have another shape than (stimuli, units) or (repetitions,
            stimuli, units), are empty, or one of them is not finite.
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


def arrange(array: Any) -> Array:
    """Return an xarray.DataArray as (stimuli, units) or (repetitions, stimuli, units).

    Dimensions have Brain-Score's names: "presentation", "neuroid" and, where there are repetitions,
    "repetition". Others must have length 1, as a single time bin has.

    Raises:
        InputError: A dimension is missing or unknown, or a stimulus stands there twice.
    """
    known = [name for name in (REPETITION, STIMULUS, UNIT) if name in array.dims]
    others = [name for name in array.dims if name not in known]
    if not {STIMULUS, UNIT} <= set(known) or any(array.sizes[name] > 1 for name in others):
        raise InputError(
            f"responses have dimensions {dict(array.sizes)}; allowed: {STIMULUS}, {UNIT}, if need "
            f"be {REPETITION}, and others of length 1"
        )
    for name in STIMULUS_IDS:
        if name in array.coords and array.coords[name].dims == (STIMULUS,):
            ids = np.asarray(array.coords[name].values)
            if len(np.unique(ids)) < len(ids):
                raise InputError(
                    f"{len(ids)} presentations show {len(np.unique(ids))} stimuli (coordinate "
                    f"{name}); allowed: each stimulus once, its repetitions in a dimension of "
                    "their own"
                )
    values: Array = array.squeeze(others, drop=True).transpose(*known).values
    return values


def image_files(folder: Path | str, names: Sequence[str] | None = None) -> list[Path]:
    """Find the stimuli's images, one file each, in the order of the responses.

    `names` are the files' names with or without suffix; None takes all images of the folder in the
    order of their names.

    Raises:
        InputError: The folder holds no image, or none of a name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"images {folder} are no folder; needed: one image file for each stimulus")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise InputError(f"folder {folder} holds no image; allowed: {', '.join(IMAGE_SUFFIXES)}")
    if names is None:
        return found
    by_name = {path.stem: path for path in found} | {path.name: path for path in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} stimuli have no image in {folder}, the first is "
            f"{missing[0]!r}; its images are {found[0].name}, ..."
        )
    return [by_name[name] for name in names]


def read_images(paths: Sequence[Path], canvas: Canvas, degrees: float) -> Iterable[Tensor]:
    """Read image files and put each `on_canvas`, one after the other."""
    for path in paths:
        yield on_canvas(decode(path.read_bytes(), str(path)), canvas, degrees)


def on_canvas(image: Image.Image, canvas: Canvas, degrees: float) -> Tensor:
    """Put an image of so many degrees into the middle of a grey canvas, (in_chans, side, side).

    Of an image that is no square, the middle is shown. What is beyond the canvas is cut off.
    """
    side = round(canvas.pixels * degrees / canvas.degrees)
    if side < 1:
        raise InputError(
            f"an image of {degrees} degrees is smaller than a pixel of a canvas of "
            f"{canvas.degrees} degrees"
        )
    square = functional.center_crop(as_channels(image, canvas.in_chans), [min(image.size)] * 2)
    scaled = functional.resize(square, [side, side], antialias=True)
    around = max(0, canvas.pixels - side)
    before, after = around // 2, around - around // 2
    padded = functional.pad(scaled, [before, before, after, after], fill=GREY)
    return as_pixels(functional.center_crop(padded, [canvas.pixels] * 2))


def _read_numpy(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    with path.open("rb") as stream:
        loaded = np.load(stream, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            name = _name_of_responses([name for name in loaded if name != NAMES], path)
            return loaded[name], loaded.get(NAMES)


def _read_netcdf(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    try:
        import xarray
    except ImportError as error:
        raise InputError(
            f"{path} needs xarray, which is not installed: pip install 'vonenet[xarray]'"
        ) from error
    with xarray.open_dataset(path) as file:
        array = file[_name_of_responses([str(name) for name in file.data_vars], path)]
        names = [array.coords[name].values for name in STIMULUS_IDS if name in array.coords]
        return arrange(array), names[0] if names else None


def _name_of_responses(names: list[str], path: Path) -> str:
    """Choose the array of a file: the only one, or that named "responses"."""
    name = names[0] if len(names) == 1 else NAME
    if name not in names:
        raise InputError(f"{path} holds {names}; allowed: one of them named {NAME!r}")
    return name

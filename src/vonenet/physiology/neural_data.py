"""Read recorded responses, (stimuli, units) or one such per repetition, and their stimuli.

A response that was not recorded is NaN, or masked: an image may have fewer repetitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from vonenet.data.decoding import GREY, SUFFIXES, as_channels, as_pixels, read_image
from vonenet.errors import InputError
from vonenet.files import natural_key
from vonenet.physiology.recording import UNREADABLE, Array, as_numbers, refuse_unpacking
from vonenet.physiology.stimuli import Canvas

NAME = "responses"  # of the array in a file that holds several
NAMES = "stimuli"  # of the array of the stimuli's names
REPETITION, STIMULUS, UNIT = "repetition", "presentation", "neuroid"  # Brain-Score's dimensions
STIMULUS_IDS = ("stimulus_id", "image_id")  # names of coordinates
ALLOWED = "allowed: .npy, .npz with an array 'responses' (or one array), .nc written by xarray"
LARGEST_SHARE = 16  # of a canvas, that an image's side may be


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
        message = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"responses {path} cannot be read: {message}") from error
    recorded = checked_responses(responses)
    if names is None:
        return recorded, None
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in np.ravel(names)]
    if len(words) != recorded.shape[-2]:
        raise InputError(
            f"{path} names {len(words)} stimuli and holds responses to {recorded.shape[-2]}; "
            "needed: a name for each"
        )
    return recorded, words


def checked_responses(responses: npt.ArrayLike) -> Array:
    """Return responses in double precision, NaN where they are masked.

    Raises:
        InputError: They are no numbers, have another shape than (stimuli, units) or (repetitions,
            stimuli, units), are empty, or one of them is infinite.
    """
    array: npt.NDArray[Any] = np.ma.asarray(responses)
    if array.dtype.kind not in "biuf":
        raise InputError(f"responses are of type {array.dtype}; allowed: numbers")
    if array.ndim not in (2, 3) or not array.size:
        raise InputError(
            f"responses have shape {array.shape}; "
            "allowed: (stimuli, units) or (repetitions, stimuli, units)"
        )
    numbers = as_numbers(array)
    infinite = np.argwhere(np.isinf(numbers))
    if len(infinite):
        units = len(np.unique(infinite[:, -1]))
        raise InputError(
            f"{len(infinite)} responses of {units} units are infinite, the first at index "
            f"{tuple(infinite[0].tolist())}; allowed: numbers, and NaN for what was not recorded"
        )
    return numbers


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
        InputError: The folder holds no image, or none or several of a name; a name stands there
            twice; or there are no names, and people and programs sort those of the files
            differently ("2" before "10", or after it; "b" before "C", or after it).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"images {folder} are no folder; needed: one image file for each stimulus")
    kinds = [each for each in folder.iterdir() if each.suffix[1:].lower() in SUFFIXES]
    found = sorted(
        (each for each in kinds if not each.name.startswith(".")), key=lambda e: natural_key(e.name)
    )
    if not found:
        raise InputError(f"folder {folder} holds no image; allowed: {', '.join(sorted(SUFFIXES))}")
    if names is None:
        as_text, without_case = sorted(found), sorted(found, key=_name_without_case)
        for one, *others in zip(found, as_text, without_case, strict=True):
            for other in (each for each in others if each != one):
                raise InputError(
                    f"the responses do not name their stimuli, and the images of {folder} have no "
                    f"certain order: {one.name} or {other.name} may come first; needed: the names "
                    f"in the order of the responses, as an array {NAMES!r} beside {NAME!r} in a "
                    ".npz file"
                )
        return found
    by_name: dict[str, list[Path]] = {}
    for each in found:
        by_name.setdefault(each.stem, []).append(each)
    by_name |= {each.name: [each] for each in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} stimuli have no image in {folder}, the first is "
            f"{missing[0]!r}; its images are {found[0].name}, ..."
        )
    for name in names:
        if len(by_name[name]) > 1:
            both = " and ".join(each.name for each in by_name[name][:2])
            raise InputError(f"stimulus {name!r} may be {both}; needed: names with their suffixes")
    paths = [by_name[name][0] for name in names]
    if twice := [path.name for path, times in Counter(paths).items() if times > 1]:
        raise InputError(
            f"{len(twice)} images are named for more than one stimulus, the first is {twice[0]}; "
            "allowed: each image once, its repetitions in a dimension of their own"
        )
    return paths


def _name_without_case(path: Path) -> tuple[object, ...]:
    return natural_key(path.name.casefold())


def read_images(paths: Sequence[Path], canvas: Canvas, degrees: float) -> Iterator[Tensor]:
    """Read image files and put each `on_canvas`, one after the other."""
    for path in paths:
        yield on_canvas(read_image(path)[1], canvas, degrees)


def on_canvas(image: Image.Image, canvas: Canvas, degrees: float) -> Tensor:
    """Put an image of so many degrees into the middle of a grey canvas, (in_chans, side, side).

    Of an image that is no square, the middle is shown. What is beyond the canvas is cut off.
    """
    side = shown_side(canvas, degrees)
    square = functional.center_crop(as_channels(image, canvas.in_chans), [min(image.size)] * 2)
    scaled = functional.resize(square, [side, side], antialias=True)
    before, after = margins_px(canvas, side)
    padded = functional.pad(scaled, [before, before, after, after], fill=GREY)
    return as_pixels(functional.center_crop(padded, [canvas.pixels] * 2))


def margins_px(canvas: Canvas, side: int) -> tuple[int, int]:
    """Return the grey before and after an image of so many pixels, 0 where there is none."""
    around = max(0, canvas.pixels - side)
    return around // 2, around - around // 2


def shown_side(canvas: Canvas, degrees: float) -> int:
    """Return the side, pixels, of an image of so many degrees on a canvas.

    Raises:
        InputError: It is smaller than a pixel, or more than 16 times as large as the canvas.
    """
    share = degrees / canvas.degrees
    if not 0.5 / canvas.pixels < share <= LARGEST_SHARE:
        raise InputError(
            f"images of {degrees:g} degrees on a canvas of {canvas.degrees:g} degrees are smaller "
            f"than a pixel, or too large; allowed: up to {LARGEST_SHARE} times the canvas"
        )
    return round(canvas.pixels * share)


def _read_numpy(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    with path.open("rb") as stream:
        refuse_unpacking(stream)
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

"""A recording as one .npz file: arrays by name, and the rest as JSON under the name `about`."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.files import replace_whole, written
from vonenet.recordings.published import Published
from vonenet.recordings.recording import Recording
from vonenet.recordings.units import Curve, Drawn, Population, ReceptiveFields

FORMAT = 1
ABOUT, ARRAY = "about", "array"
Arrays = dict[str, npt.NDArray[Any]]
# Of these a page draws pictures: half the digits do
COARSE = ("curves/", "fields/maps")


def save_recording(recording: Recording, path: Path) -> None:
    """Write a recording, whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    arrays: Arrays = {}
    about = {"format": FORMAT} | _packed(recording, "", arrays)
    arrays = {
        name: array.astype(np.float32) if any(part in name for part in COARSE) else array
        for name, array in arrays.items()
    }
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_whole(path, partial(_write, arrays | {ABOUT: np.array(json.dumps(about))}))


def read_recording(path: Path | str) -> Recording:
    """Read what `save_recording` wrote.

    Raises:
        InputError: The file cannot be read, or is no recording.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop(ABOUT)))
        if about["format"] != FORMAT:
            raise InputError(
                f"{path} is a recording of format {about['format']}; allowed: {FORMAT}"
            )
        return _recording(about, arrays)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no recording: {type(error).__name__}: {error}") from error


def _write(arrays: Arrays, path: Path) -> None:
    with path.open("wb") as file:  # given a name, numpy would add a suffix
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _packed(value: Any, name: str, arrays: Arrays) -> Any:
    """A value as JSON; arrays go into `arrays`, `{ARRAY: name}` stands in their place."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {ARRAY: name}
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        inside = f"{name}/" if name else ""
        return {key: _packed(each, f"{inside}{key}", arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(each, f"{name}/{index}", arrays) for index, each in enumerate(value)]
    return value


def _unpacked(value: Any, arrays: Arrays) -> Any:
    """JSON with the arrays back in their places."""
    if isinstance(value, dict) and set(value) == {ARRAY}:
        array = arrays[value[ARRAY]]
        return array.astype(np.float64) if array.dtype == np.float32 else array
    if isinstance(value, dict):
        return {key: _unpacked(each, arrays) for key, each in value.items()}
    if isinstance(value, list):
        return [_unpacked(each, arrays) for each in value]
    return value


def _recording(about: dict[str, Any], arrays: Arrays) -> Recording:
    found = _unpacked(about, arrays)
    del found["format"]
    found["map_shape"] = tuple(found["map_shape"])
    found["fields"] = ReceptiveFields(**found["fields"])
    found["drawn"] = Drawn(**found["drawn"]) if found["drawn"] else None
    found["published"] = [
        Published(**each | {name: tuple(each[name]) for name in ("edges", "counts")})
        for each in found["published"]
    ]
    found["populations"] = {
        name: Population(
            **each | {"curves": {key: Curve(**curve) for key, curve in each["curves"].items()}}
        )
        for name, each in found["populations"].items()
    }
    return Recording(**found)

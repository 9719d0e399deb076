"""A recording: all that was measured of the units of one layer, and its file on disk.

recording = read_recording("physiology/voneresnet50_vone_block.npz")
recording.populations["orientation"].properties["bandwidth"]    # (units,), degrees
recording.populations["size"].curves["size"].rates              # (units, diameters)
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter
from scipy.special import ndtr

from vonenet.errors import InputError
from vonenet.files import write_whole, written
from vonenet.results import Value

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FORMAT = 2
# Names in the file: of the JSON text, and of the key that stands for an array in it
ABOUT, ARRAY = "about", "array"
# Arrays of which a page draws pictures are stored in single precision
COARSE = ("curves/", "fields/maps")
LARGEST_FILE = 4 * 2**30  # bytes of a file's arrays, unpacked
FIELDS_OF_UNITS = ("maps", "centers_deg", "diameters_deg")
# What the readers of numpy, json and xarray raise on damaged and hostile files
UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, ImportError, MemoryError),
    *(RuntimeError, SyntaxError, OverflowError, zipfile.BadZipFile, zlib.error),
)


def as_numbers(values: npt.ArrayLike) -> Array:
    """Return values in double precision, NaN where they are masked."""
    numbers: Array = np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
    return numbers


def refuse_unpacking(file: IO[bytes]) -> None:
    """Refuse a .npz file that is small, but whose arrays would fill the memory.

    Raises:
        ValueError: Its arrays have more than 4 GiB.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST_FILE:
            raise ValueError(f"its arrays have {size / 2**30:.1f} GiB; allowed: 4")
    file.seek(0)


@dataclass(frozen=True)
class PublishedHistogram:
    """A property's published histogram, which recorded units are compared with.

    Attributes:
        name: The property.
        paper: Where the cells were counted.
        unit: Of the edges; "" for a ratio or an index, and for a yes or no (edges 0, 0.5, 1).
        edges: Bin edges, ascending. A bin holds its lower edge; the last one holds both.
        counts: Cells in each bin, one fewer than the edges.
        recorded: Cells in the study. More than were counted where the property was undefined for
            some cells, or not measured.
        cells: Which cells have the property, in words; "" for all.
        ceiling: Published similarity of the data with itself; None where none is published.
        period: Of a circular property, in the edges' unit; 0 for others.
        log: Whether the bins are even on a logarithmic axis.
    """

    name: str
    paper: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    recorded: int
    cells: str = ""
    ceiling: float | None = None
    period: float = 0.0
    log: bool = False

    @property
    def n(self) -> int:
        """Number of cells counted."""
        return sum(self.counts)

    @property
    def in_mean(self) -> bool:
        """Whether it is a property of Marques et al. 2021, over which scores are averaged."""
        return self.ceiling is not None

    @property
    def shares(self) -> Array:
        """Share of the counted cells in each bin, (bins,)."""
        return np.array(self.counts) / self.n

    def bins_of(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the bin of every value, (units,); -1 for NaN.

        A circular value is first brought into the period that begins at the first edge. A value
        beyond the edges goes into the end bin, as in Marques et al. 2021: left out, a unit far from
        what V1 does would not count against its model.
        """
        array = as_numbers(values)
        if self.period:
            array = (array - self.edges[0]) % self.period + self.edges[0]
        inner = np.array((-inf, *self.edges[1:-1]))
        return np.where(np.isnan(array), -1, np.searchsorted(inner, array, side="right") - 1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Tuning curves of all units.

    Attributes:
        axis: What `x` is, with its unit.
        x: (n,), or (units, n) where every unit has its own.
        rates: (units, n).
        fitted: The same from a fit, NaN where there is none; None where nothing is fitted.
    """

    axis: str
    x: Array
    rates: Array
    fitted: Array | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """What one experiment measured.

    Every array has one entry for each recorded unit.

    Attributes:
        experiment: Its name.
        source: The paper that it follows.
        responsive: (units,) whether a unit's receptive field is at the stimuli and it responds.
        properties: By name, (units,); NaN for units that do not respond, and where undefined.
        counts: Units `recorded`; of these `in_field` (receptive field at the stimuli); of these
            `responsive`; of these `poor_fits`.
        among: Which units a property is defined for, where it is not all, (units,).
        quality: Share of variance that a fit explains, by property, (units,); NaN without a fit.
        curves: By name.
    """

    experiment: str
    source: str
    responsive: Mask
    properties: Mapping[str, Array]
    counts: Mapping[str, int]
    among: Mapping[str, Mask] = field(default_factory=dict)
    quality: Mapping[str, Array] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def values(self, name: str) -> Array:
        """Return a property of the responsive units that it is defined for; NaN if undefined."""
        return self.properties[name][self.responsive & self.among.get(name, self.responsive)]


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """Where units respond.

    Attributes:
        x_deg: (n,) positions of the map's columns, rightwards.
        y_deg: (n,) positions of its rows, upwards, ascending.
        maps: (units, n, n), rows y and columns x: largest response above the blank to any patch
            there, 0 or more, in the model's own unit.
        centers_deg: (units, 2), x and y of the centroid; NaN for units that no patch excites.
        diameters_deg: (units,) four standard deviations of the field about its centroid.
    """

    x_deg: Array
    y_deg: Array
    maps: Array
    centers_deg: Array
    diameters_deg: Array


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The parameters that units were built with, which measurements should recover.

    Attributes:
        orientation_deg: (units,) of the bars that a unit's filter prefers, in [0, 180).
        frequency_cpd: (units,) of its carrier, cycles per degree.
        whole: (units,) whether its kernel holds the envelope out to one standard deviation.
        is_complex: (units,) whether it is a complex cell.
        noise_slope: Of the noise's variance over the mean response; NaN without such noise.
        noise_offset: Variance at a mean response of 0; NaN without such noise.
    """

    orientation_deg: Array
    frequency_cpd: Array
    whole: Mask
    is_complex: Mask
    noise_slope: float = nan
    noise_offset: float = nan

    def unwrap_orientation(self, measured_deg: Array) -> Array:
        """Shift measured orientations, (units,), by 180 degrees to be nearest to the true ones."""
        error: Array = (measured_deg - self.orientation_deg + 90) % 180 - 90
        return self.orientation_deg + error

    def rectified_moments(self, response: Array) -> tuple[Array, Array]:
        """Return mean and variance over trials of max(response + noise, 0), the noise normal.

        Args:
            response: Before noise, any shape, 0 or more.
        """
        deviation: Array = np.sqrt(self.noise_slope * response + self.noise_offset)
        density = deviation * np.exp(-((response / deviation) ** 2) / 2) / np.sqrt(2 * np.pi)
        above = ndtr(response / deviation)
        mean: Array = response * above + density
        variance: Array = (response**2 + deviation**2) * above + response * density - mean**2
        return mean, variance


@dataclass(frozen=True, eq=False)
class Recording:
    """One layer of one model, recorded in every experiment.

    Attributes:
        model: Name of the model.
        model_hash: `vonenet.results.model_hash` of it.
        layer: Name of the layer.
        settings: What else the numbers depend on: `degrees` of visual angle and `pixels` of an
            image, number of `units`, whether tuning was measured `before_noise`, else the `trials`
            that were averaged, `seed`.
        units: (units, 3), channel, row and column in the layer's map.
        map_shape: Channels, height and width of that map.
        is_stochastic: Whether two trials differ.
        rate_slope: Spikes per second and unit of the model's response.
        rate_offset: Spikes per second of a silent unit.
        spontaneous: (units,) spikes per second to a blank.
        fields: Receptive fields.
        populations: Measurements by experiment.
        published: The distributions that properties are compared with.
        ground_truth: What the units were built with, where that is known.
        versions: Of python, torch and vonenet.
        seconds: That the recording took.
    """

    model: str
    model_hash: str
    layer: str
    settings: Mapping[str, bool | Value]
    units: npt.NDArray[np.int64]
    map_shape: tuple[int, int, int]
    is_stochastic: bool
    rate_slope: float
    rate_offset: float
    spontaneous: Array
    fields: ReceptiveFields
    populations: Mapping[str, Population]
    published: Sequence[PublishedHistogram]
    ground_truth: GroundTruth | None
    versions: Mapping[str, str]
    seconds: float
    __pydantic_config__: ClassVar = ConfigDict(arbitrary_types_allowed=True)  # numpy's arrays

    @property
    def label(self) -> str:
        """Model and layer, as a page calls them."""
        return f"{self.model} {self.layer}"

    def values(self, name: str) -> Array:
        """Return a property as `Population.values` does.

        Raises:
            KeyError: No experiment measures it.
        """
        population = self.experiment_of(name)
        if population is None:
            raise KeyError(name)
        return population.values(name)

    def of_all_units(self, name: str) -> Array:
        """Return a property of all units, (units,), NaN where it was not measured."""
        population = self.experiment_of(name)
        return population.properties[name] if population else np.full(len(self.units), np.nan)

    def experiment_of(self, name: str) -> Population | None:
        """Return the experiment that measured a property; None where none did."""
        found = (each for each in self.populations.values() if name in each.properties)
        return next(found, None)


def save_recording(recording: Recording, path: Path) -> None:
    """Write a recording as one .npz file, whole or not at all.

    It holds every array under its path of attribute names, such as
    `populations/orientation/properties/bandwidth`, and the rest as JSON text under `about`.

    Raises:
        InputError: The file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    about = {"format": FORMAT} | _pack(recording, "", arrays)
    for name, array in arrays.items():
        if any(part in name for part in COARSE):
            arrays[name] = array.astype(np.float32)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    arrays[ABOUT] = np.array(json.dumps(about))
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_whole(path, content.getvalue())


def read_recording(path: Path | str) -> Recording:
    """Read what `save_recording` wrote.

    Raises:
        InputError: The file cannot be read, or is no recording of this format.
    """
    try:
        with Path(path).open("rb") as file:
            refuse_unpacking(file)
            with np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
        about = json.loads(str(arrays.pop(ABOUT)), object_hook=partial(_with_arrays, arrays))
        if about["format"] != FORMAT:
            raise InputError(
                f"{path} is a recording of format {about['format']}; allowed: {FORMAT} "
                "(delete the file to record again)"
            )
        recording = TypeAdapter(Recording).validate_python(about)
        _check_units(recording)
        return recording
    except InputError:
        raise
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} is no recording: {type(error).__name__}: {reason} (delete the file to record "
            "again)"
        ) from error


def _check_units(recording: Recording) -> None:
    """Check that everything is known of the same units.

    Raises:
        ValueError: An array is of other units.
    """
    n = np.size(recording.units, 0) if np.ndim(recording.units) else 0
    arrays: dict[str, npt.NDArray[Any]] = {
        "units": recording.units,
        "spontaneous": recording.spontaneous,
    }
    arrays |= {f"fields/{name}": getattr(recording.fields, name) for name in FIELDS_OF_UNITS}
    for experiment, population in recording.populations.items():
        arrays[f"{experiment}/responsive"] = population.responsive
        for kind in ("properties", "among", "quality"):
            arrays |= {f"{experiment}/{k}": v for k, v in getattr(population, kind).items()}
        arrays |= {f"{experiment}/{k}": v.rates for k, v in population.curves.items()}
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != n or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not numbers of {n} units")


def _pack(value: Any, name: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Turn a value into JSON; arrays go into `arrays`, `{ARRAY: name}` stands in their place."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {ARRAY: name}
    if dataclasses.is_dataclass(value):
        value = vars(value)
    prefix = f"{name}/" if name else ""
    if isinstance(value, Mapping):
        return {key: _pack(each, f"{prefix}{key}", arrays) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(each, f"{prefix}{index}", arrays) for index, each in enumerate(value)]
    return value


def _with_arrays(arrays: Mapping[str, npt.NDArray[Any]], value: dict[str, Any]) -> Any:
    """Put an array in the place of what stands for it."""
    if set(value) != {ARRAY}:
        return value
    array = arrays[value[ARRAY]]
    return array.astype(np.float64) if array.dtype == np.float32 else array

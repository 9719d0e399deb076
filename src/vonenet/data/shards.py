"""Images inside larger files: parquet files, WebDataset tar shards, the cache of the hub.

Local files are read where they lie: Hugging Face `datasets` (5.2) would copy every split into its
cache first (another 150 GB for ImageNet), and takes a tar shard that is cut off for a whole one.
Sets of the hub have to be copied in any case, so those it reads.
"""

import glob
import importlib
import json
import os
import re
import tarfile
import threading
from array import array
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from vonenet.bars import progress_bar
from vonenet.data.dataset import Source
from vonenet.data.decoding import MOST_BYTES, SUFFIXES, one_line, read_image_file
from vonenet.data.labels import MOST_CLASSES, checked_labels
from vonenet.errors import InputError
from vonenet.files import natural_key

# What a part is called elsewhere: asked for under the first name, taken under the others.
# Nobody who asks for "val" gets the test images.
ALSO_CALLED = {
    "train": ("training", "trainval"),
    "test": ("val", "validation", "valid"),
    "val": ("validation", "valid"),
    "validation": ("val", "valid"),
}
SPLITS = frozenset(ALSO_CALLED).union(*ALSO_CALLED.values())
ALL = "all"  # what data of one part are asked for as
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")  # the second is CIFAR-100's
# Of each process: all of CIFAR, or some twenty row groups of ImageNet
CACHE_BYTES = 2**28
# Key and suffix: `train/n01_7.seg.png` is the `seg.png` of `train/n01_7`
TAR_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
TAR_BLOCK = 512
MOST_NOTE_BYTES = 2**20  # of a label in a shard


def names_of(split: str | Sequence[str]) -> list[str]:
    """Return what a split may be called, those that were asked for first."""
    asked = [split] if isinstance(split, str) else split
    return [name for first in asked for name in (first, *ALSO_CALLED.get(first, ()))]


def choose_split(split: str | Sequence[str], there: Collection[str], address: str) -> str:
    """Return the first split that is asked for and there; data of one part have `ALL`."""
    names = names_of(split)
    for name in names:
        if name in there:
            return name
    known = "all (it has one part)" if set(there) == {ALL} else ", ".join(sorted(there))
    raise InputError(f"no split {names[0]!r} in {address!r}; there: {known}")


def files_of_split(
    paths: Sequence[Path], root: Path, split: str | Sequence[str], address: str
) -> tuple[list[Path], str, tuple[str, ...]]:
    """Find the files of one split; return them, what their split is called, and all splits."""
    groups = files_by_part(paths, root, split)
    found = choose_split(split, groups, address)
    return groups[found], found, tuple(groups)


def files_by_part(
    paths: Sequence[Path], root: Path, split: str | Sequence[str]
) -> dict[str, list[Path]]:
    """Group files by their part.

    A file belongs to the split that a part of its name (`cifar-test-000.tar`), or else a folder
    below `root`, is called. Files that name no split are one part, `ALL`.
    """
    known = SPLITS.union(names_of(split)) - {""}
    groups: dict[str, list[Path]] = {}
    for path in sorted(paths, key=lambda path: natural_key(str(path))):
        raw = path.stem.split("-")
        words = [name for word in raw for name in (word, word.rstrip("0123456789_"))]
        folders = reversed(path.relative_to(root).parts[:-1])
        unknown = raw[0] if "-of-" in path.stem else ALL
        part = next((word for word in (*words, *folders) if word in known), unknown)
        groups.setdefault(part, []).append(path)
    if len(groups) > 1:
        groups.pop(ALL, None)  # what names no split, beside what does
    return groups


class ParquetSource(Source):
    """Images in parquet files as Hugging Face writes them.

    An image takes its whole row group to be read and unpacked, so the last ones read are kept.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._paths = [str(path) for path in paths]
        rows: list[list[int]] = []
        labels: list[Tensor] = []
        names: list[str] = []
        for path in progress_bar(self._paths, desc="read labels", delay=2, leave=False):
            with _opened(path) as file:
                columns, note = file.schema_arrow.names, file.schema_arrow.metadata or {}
                self._column = _find_column(columns, IMAGE_COLUMNS, path)
                _check_image_type(file.schema_arrow.field(self._column).type, self._column, path)
                label = _find_column(columns, LABEL_COLUMNS, path)
                labels.append(_as_labels(file.read(columns=[label], use_threads=False)[0], path))
                groups = range(file.metadata.num_row_groups)
                rows.append([file.metadata.row_group(group).num_rows for group in groups])
            own = _class_names(note.get(b"huggingface", b"{}"), label, path)
            if own and names and own != names:
                first = self._paths[0]
                raise InputError(f"{path} and {first} name classes differently; needed: one way")
            names = names or own
        super().__init__(torch.cat(labels), names, self._paths[0])
        self._groups = [(file, group) for file, of in enumerate(rows) for group in range(len(of))]
        self._ends = np.cumsum([count for of in rows for count in of])
        self._file_ends = np.cumsum([sum(of) for of in rows])
        self._kept: dict[int, Any] = {}  # row groups, the one used least recently first
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Self], tuple[list[str]]]:
        return type(self), (self._paths,)  # a worker opens the files anew

    def read(self, index: int) -> bytes:
        """Return one image file."""
        group = int(np.searchsorted(self._ends, index, side="right"))
        with self._lock:
            images = self._kept.pop(group, None)
            self._kept[group] = images = self._read_group(group) if images is None else images
            while len(self._kept) > 1 and self._kept_bytes() > CACHE_BYTES:
                self._kept.pop(next(iter(self._kept)))
        value = images[index - int(self._ends[group])].as_py()  # from its end
        encoded = value["bytes"] if isinstance(value, dict) else value
        return bytes(encoded or b"")

    def file(self, index: int) -> str:
        """Return the path of the file that one image is in."""
        return self._paths[int(np.searchsorted(self._file_ends, index, side="right"))]

    def describe(self, index: int) -> str:
        """Return the row, from 0, and the file of one image."""
        file = int(np.searchsorted(self._file_ends, index, side="right"))
        first = self._file_ends[file - 1] if file else 0
        return f"in row {index - first} of {self._paths[file]}"

    def _read_group(self, group: int) -> Any:
        file, number = self._groups[group]
        with _opened(self._paths[file]) as opened:
            return opened.read_row_group(number, columns=[self._column], use_threads=False)[0]

    def _kept_bytes(self) -> int:
        return sum(images.nbytes for images in self._kept.values())


class HubSource(Source):
    """Images of the Hugging Face hub, `hub/OWNER/NAME[:CONFIG]`, in the cache of `datasets`."""

    def __init__(self, address: str, split: str | Sequence[str]) -> None:
        repository, _, config = address.removeprefix("hub/").partition(":")
        datasets = _imported("datasets", "hub", address)
        try:
            there = datasets.get_dataset_split_names(repository, config or None)
            self.split = choose_split(split, there, address)
            rows = datasets.load_dataset(repository, config or None, split=self.split)
        except InputError:
            raise
        except Exception as error:  # dozens of kinds
            raise InputError(f"{address} could not be opened: {one_line(error)}") from error
        image = _find_column(rows.column_names, IMAGE_COLUMNS, address)
        label = _find_column(rows.column_names, LABEL_COLUMNS, address)
        labels = _as_labels(rows.data.column(label), address)
        super().__init__(labels, getattr(rows.features[label], "names", ()), address)
        if not isinstance(rows.features[image], datasets.Image):
            _check_image_type(rows.data.schema.field(image).type, image, address)
        self.splits = tuple(there)
        self._rows = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        self._column = image
        self._name = f"{address}/{self.split}"

    def read(self, index: int) -> bytes:
        """Return one image file, which lies in the cache or where its row says."""
        image = self._rows[index][self._column]
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        return read_image_file(image["path"] or "")

    def describe(self, index: int) -> str:
        """Return the row, from 0, of one image."""
        return f"in row {index} of {self._name}"


class TarSource(Source):
    """Images in WebDataset shards: tar files in which an image's files share their name's stem.

    A label is the number in a `.cls` file, or the "label" in a `.json` file. Every shard is listed
    once and opened for every image anew: shuffling is exact, no two processes share a position in
    a file, and any number of shards can be read.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._paths = [str(path) for path in paths]
        keys: list[bytes] = []
        places = array("q")  # shard, offset, size and label, image after image
        for number, path in enumerate(
            progress_bar(self._paths, desc="list shards", delay=2, leave=False)
        ):
            for key, image, label in _images_of_tar(path):
                keys.append(os.fsencode(key))
                places.extend((number, image.offset_data, image.size, label))
        table = np.array(places, dtype=np.int64).reshape(-1, 4)
        super().__init__(table[:, 3], name=self._paths[0])
        self._keys, self._places = np.array(keys), table[:, :3]

    def read(self, index: int) -> bytes:
        """Return one image file."""
        shard, offset, size = self._places[index].tolist()
        if size > MOST_BYTES:
            raise ValueError(f"it has {size:,} bytes; allowed: up to {MOST_BYTES:,}")
        with Path(self._paths[shard]).open("rb") as file:
            file.seek(offset)
            encoded = file.read(size)
        if len(encoded) < size:
            raise EOFError("the shard became shorter since it was opened")
        return encoded

    def file(self, index: int) -> str:
        """Return the path of the shard that one image is in."""
        return self._paths[int(self._places[index, 0])]

    def describe(self, index: int) -> str:
        """Return the key and the shard of one image."""
        return f"{os.fsdecode(self._keys[index])} in {self.file(index)}"


def _images_of_tar(path: str) -> Iterator[tuple[str, tarfile.TarInfo, int]]:
    """Yield the key, the file and the label of each image in a shard."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                parts = TAR_NAME.fullmatch(member.name)
                if member.isfile() and parts is not None:
                    files, suffix = samples.setdefault(parts[1], {}), parts[2].lower()
                    if suffix in files:
                        raise InputError(f"shard {path} holds {member.name} twice")
                    files[suffix] = member
    except tarfile.TarError as error:
        raise InputError(f"shard {path} is damaged, unfinished or packed: {error}") from error
    with Path(path).open("rb") as file:
        file.seek(tar.offset)
        if file.read(TAR_BLOCK) != bytes(TAR_BLOCK):  # `tarfile` takes any damage for the end
            raise InputError(f"shard {path} is damaged or unfinished from byte {tar.offset} on")
        for key, files in samples.items():
            image = next((files[suffix] for suffix in files if suffix in SUFFIXES), None)
            if image is None:
                continue
            noted = "cls" if "cls" in files else "json"
            if noted not in files:
                needed = "needed: a .cls file, or a .json file with a label"
                raise InputError(f"{key} in {path} has no label; {needed}")
            file.seek(files[noted].offset_data)
            text = file.read(min(files[noted].size, MOST_NOTE_BYTES))
            try:
                label = text if noted == "cls" else json.loads(text)["label"]
                label = int(label) if isinstance(label, bytes | str) else label
            except (ValueError, LookupError, TypeError, RecursionError):
                label = None
            if type(label) is not int or not 0 <= label < MOST_CLASSES:
                what = f"the .{noted} of {key} in {path} holds no class number"
                raise InputError(f"{what} of 0 to {MOST_CLASSES - 1}")
            yield key, image, label


def find_tars(address: str) -> list[Path]:
    """Return the tar files that a path, a glob or braces such as `{000..099}` stand for."""
    paths: list[Path] = []
    for pattern in expand_braces(str(Path(address).expanduser())):
        paths += map(Path, sorted(glob.glob(pattern), key=natural_key) or [pattern])  # noqa: PTH207
    if missing := [path for path in paths if not path.is_file()]:
        what = f"{len(missing)} of {len(paths)} shards are not there"
        raise InputError(f"{what}; first: {missing[0]}")
    return paths


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield every name that braces stand for, as in a shell: `{08..10}` and `{train,val}`."""
    braces = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if braces is None:
        yield pattern
        return
    choices = braces[1].split(",")
    if ends := re.fullmatch(r"(\d+)\.\.(\d+)", braces[1]):
        padded = any(len(end) > 1 and end[0] == "0" for end in ends.groups())
        width = max(map(len, ends.groups())) if padded else 0
        first, last = map(int, ends.groups())
        step = 1 if first <= last else -1
        choices = [str(number).zfill(width) for number in range(first, last + step, step)]
    for choice in choices:
        yield from expand_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _find_column(columns: Sequence[str], names: Sequence[str], where: str) -> str:
    if found := [name for name in names if name in columns]:
        return found[0]
    wanted = " or ".join(repr(name) for name in names)
    raise InputError(f"{where} has columns {list(columns)}; needed: {wanted}")


def _as_labels(column: Any, where: str) -> Tensor:
    if not str(column.type).removeprefix("u").startswith("int"):
        what = f"labels of {where} have type {column.type}"
        raise InputError(f"{what}; needed: whole numbers, one for each image")
    return checked_labels(column.to_pylist(), where)  # to_numpy would import pandas


def _check_image_type(kind: Any, column: str, where: str) -> None:
    """Refuse columns that hold no image files: text, lists, numbers, ..."""
    fields = [kind.field(index) for index in range(kind.num_fields)]
    kinds = {field.name: str(field.type) for field in fields} if "struct" in str(kind) else {}
    if kinds.get("bytes", str(kind)) not in ("binary", "large_binary", "null"):
        what = f"column {column!r} of {where} has type {kind}"
        raise InputError(f"{what}; needed: image files, as bytes or a struct with 'bytes'")


def _class_names(note: bytes, label: str, path: str) -> list[str]:
    """Return the names in the note that `datasets` leaves in a file; [] if there are none."""
    try:
        names = json.loads(note).get("info", {}).get("features", {}).get(label, {}).get("names")
    except (ValueError, AttributeError, RecursionError) as error:
        what = f"the note 'huggingface' in {path} cannot be read"
        raise InputError(f"{what}: {one_line(error)}") from error
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise InputError(f"the note 'huggingface' in {path} names no classes of {label!r}")
    return names or []


def _imported(module: str, extra: str, address: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        needed = f"{module.partition('.')[0]}: pip install 'vonenet[{extra}]'"
        raise InputError(f"{address} needs {needed}") from error


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    arrow = _imported("pyarrow.parquet", "parquet", path)
    try:
        with arrow.ParquetFile(path, memory_map=True) as file:
            yield file
    except InputError:
        raise
    except (OSError, ValueError) as error:  # what pyarrow's errors are
        raise InputError(f"parquet file {path} cannot be read: {one_line(error)}") from error

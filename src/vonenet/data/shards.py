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
from tqdm import tqdm

from vonenet.data.dataset import Source
from vonenet.data.decoding import one_line
from vonenet.errors import InputError

# What a part is called elsewhere: asked for under the first name, taken under the others.
# Nobody who asks for "val" gets the test images.
ALSO_CALLED = {
    "train": ("training", "trainval"),
    "test": ("val", "validation", "valid"),
    "val": ("validation", "valid"),
    "validation": ("val", "valid"),
}
SPLITS = frozenset(ALSO_CALLED).union(*ALSO_CALLED.values())
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")  # the second is CIFAR-100's
# Of each process: all of CIFAR, or some twenty row groups of ImageNet
CACHE_BYTES = 2**28
IMAGE_SUFFIXES = frozenset({"bmp", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp"})
# Key and suffix: `train/n01_7.seg.png` is the `seg.png` of `train/n01_7`
TAR_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
TAR_BLOCK = 512


def choose_split(asked: str, there: Collection[str], address: str) -> str:
    """Return the split that is meant among those that are there."""
    for name in (asked, *ALSO_CALLED.get(asked, ())):
        if name in there:
            return name
    raise InputError(f"no split {asked!r} in {address!r}; there: {', '.join(sorted(there))}")


def files_of_split(
    paths: Sequence[Path], root: Path, split: str, address: str
) -> tuple[list[Path], str]:
    """Find the files of one split; return them, and what their split is called.

    A file belongs to the split that a part of its name (`cifar-test-000.tar`), or else a folder
    below `root`, is called. Files that name no split are one part, whatever is asked for.
    """
    if exact := [path for path in paths if path.name.startswith(f"{split}-")]:
        return exact, split
    groups: dict[str, list[Path]] = {}
    for path in paths:
        words = [word.rstrip("0123456789_") for word in path.stem.split("-")]
        folders = reversed(path.relative_to(root).parts[:-1])
        unknown = words[0] if "-of-" in path.stem else ""
        part = next((word for word in (*words, *folders) if word in SPLITS), unknown)
        groups.setdefault(part, []).append(path)
    if set(groups) == {""}:
        return list(paths), split
    found = choose_split(split, set(groups) - {""}, address)
    return groups[found], found


class ParquetSource(Source):
    """Images in parquet files as Hugging Face writes them.

    An image takes its whole row group to be read and unpacked, so the last ones read are kept.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._paths = [str(path) for path in paths]
        rows, labels = [], []
        names: list[str] = []
        for path in tqdm(self._paths, desc="read labels", delay=2, leave=False):
            with _opened(path) as file:
                columns, note = file.schema_arrow.names, file.schema_arrow.metadata or {}
                self._column = _find_column(columns, IMAGE_COLUMNS, path)
                label = _find_column(columns, LABEL_COLUMNS, path)
                labels.append(_as_labels(file.read(columns=[label], use_threads=False)[0], path))
                groups = range(file.metadata.num_row_groups)
                rows.append([file.metadata.row_group(group).num_rows for group in groups])
            info = json.loads(note.get(b"huggingface", b"{}")).get("info", {})
            names = names or info.get("features", {}).get(label, {}).get("names", [])
        super().__init__(torch.cat(labels), names)
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

    def __init__(self, address: str, split: str) -> None:
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
        super().__init__(labels, getattr(rows.features[label], "names", ()))
        self._rows = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        self._column = image
        self._name = f"{address}/{self.split}"

    def read(self, index: int) -> bytes:
        """Return one image file, which lies in the cache or where its row says."""
        image = self._rows[index][self._column]
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        return Path(image["path"] or "").read_bytes()

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
        for number, path in enumerate(tqdm(self._paths, desc="list shards", delay=2, leave=False)):
            for key, image, label in _images_of_tar(path):
                keys.append(os.fsencode(key))
                places.extend((number, image.offset_data, image.size, label))
        table = np.array(places, dtype=np.int64).reshape(-1, 4)
        super().__init__(torch.from_numpy(table[:, 3].copy()))
        self._keys, self._places = np.array(keys), table[:, :3]

    def read(self, index: int) -> bytes:
        """Return one image file."""
        shard, offset, size = self._places[index].tolist()
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
            image = next((files[suffix] for suffix in files if suffix in IMAGE_SUFFIXES), None)
            if image is None:
                continue
            noted = "cls" if "cls" in files else "json"
            if noted not in files:
                needed = "needed: a .cls file, or a .json file with a label"
                raise InputError(f"{key} in {path} has no label; {needed}")
            file.seek(files[noted].offset_data)
            text = file.read(files[noted].size)
            try:
                label = int(text if noted == "cls" else json.loads(text)["label"])
            except (ValueError, KeyError, TypeError) as error:
                what = f"the .{noted} of {key} in {path}"
                raise InputError(f"{what} holds no class number") from error
            yield key, image, label


def find_tars(address: str) -> list[Path]:
    """Return the tar files that a path, a glob or braces such as `{000..099}` stand for."""
    paths: list[Path] = []
    for pattern in expand_braces(str(Path(address).expanduser())):
        paths += map(Path, sorted(glob.glob(pattern)) or [pattern])  # noqa: PTH207
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
    if column.null_count or not str(column.type).removeprefix("u").startswith("int"):
        kind = f"type {column.type}, {column.null_count} of them missing"
        raise InputError(f"the labels of {where} have {kind}; needed: integers, none missing")
    return torch.tensor(column.to_pylist(), dtype=torch.int64)  # to_numpy would import pandas


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

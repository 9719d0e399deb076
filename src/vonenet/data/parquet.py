"""Reads parquet files as Hugging Face writes them; the images stay on disk until asked for."""

import importlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vonenet.data.decoding import broken_image
from vonenet.data.stores import EncodedStore, Labelled
from vonenet.errors import InputError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")  # the second is CIFAR-100's
# Of each process: all of CIFAR, or some twenty row groups of ImageNet
CACHE_BYTES = 2**28


def open_parquet(paths: Sequence[Path]) -> Labelled:
    """Opens parquet files with a column of encoded images and one of labels.

    Raises:
        InputError: If pyarrow is missing, a file is damaged, or has no such columns.
    """
    labels, rows = [], []
    note: dict[bytes, bytes] = {}
    for path in tqdm(paths, desc="read labels", unit="file", delay=2, leave=False):
        with _opened(path) as file:
            image = find_column(file.schema_arrow.names, IMAGE_COLUMNS, str(path))
            label = find_column(file.schema_arrow.names, LABEL_COLUMNS, str(path))
            table = file.read(columns=[label], use_threads=False)
            groups = range(file.metadata.num_row_groups)
            rows.append([file.metadata.row_group(group).num_rows for group in groups])
            note = note or file.schema_arrow.metadata or {}
        labels.append(as_labels(table[label], str(path)))
    joined = torch.cat(labels)
    store = ParquetStore(paths, image, rows)
    return Labelled(store, joined, _names(note, label) or numbered(joined))


class ParquetStore(EncodedStore):
    """Images in the row groups of parquet files.

    An image takes its whole row group to be read and unpacked, so the last ones read are kept.

    Args:
        paths: The files.
        column: Of the images: bytes, or a struct that has them as `bytes`.
        rows: How many rows each row group of each file has.
    """

    def __init__(self, paths: Sequence[Path], column: str, rows: Sequence[Sequence[int]]) -> None:
        self._paths = [str(path) for path in paths]
        self._column = column
        self._file = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        self._group = np.concatenate([np.arange(len(each)) for each in rows])
        ends = np.cumsum([count for each in rows for count in each])
        self._starts = np.concatenate([[0], ends])
        self._file_starts = self._starts[np.searchsorted(self._file, np.arange(len(rows)))]
        self._forget()

    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        value = self._images(number)[index - int(self._starts[number])].as_py()
        encoded = value["bytes"] if isinstance(value, dict) else value
        if encoded is None:
            raise broken_image(self.describe(index), "the row has no bytes")
        return bytes(encoded)

    def describe(self, index: int) -> str:
        """The row, from 0, and the file of one image."""
        file = int(np.searchsorted(self._file_starts, index, side="right")) - 1
        return f"in row {index - self._file_starts[file]} of {self._paths[file]}"

    def _images(self, number: int) -> Any:
        """The images of one row group, which the cache then holds as the last."""
        with self._lock:
            images = self._cache.pop(number, None)
            if images is None:
                images = self._read_group(number)
            self._cache[number] = images
            while len(self._cache) > 1 and self._cached_bytes() > CACHE_BYTES:
                self._cache.pop(next(iter(self._cache)))
            return images

    def _read_group(self, number: int) -> Any:
        with _opened(self._paths[self._file[number]]) as file:
            group = int(self._group[number])
            return file.read_row_group(group, columns=[self._column], use_threads=False)[0]

    def _cached_bytes(self) -> int:
        return sum(images.nbytes for images in self._cache.values())

    def _forget(self) -> None:
        self._cache: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: v for key, v in vars(self).items() if key not in ("_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def find_column(columns: Sequence[str], names: Sequence[str], where: str) -> str:
    """The first of `names` that is a column.

    Raises:
        InputError: If none is.
    """
    for name in names:
        if name in columns:
            return name
    wanted = " or ".join(repr(name) for name in names)
    raise InputError(f"{where} has columns {list(columns)}; needed: {wanted}")


def as_labels(column: Any, where: str) -> Tensor:
    """Class indices, (N,) int64, of an Arrow column.

    Raises:
        InputError: If it holds anything but integers.
    """
    if column.null_count or not str(column.type).removeprefix("u").startswith("int"):
        kind = f"type {column.type}, {column.null_count} of them missing"
        raise InputError(f"the labels of {where} have {kind}; needed: integers, none missing")
    return torch.tensor(column.to_pylist(), dtype=torch.int64)  # to_numpy would import pandas


def numbered(labels: Tensor) -> list[str]:
    """Class names where there are none: the labels."""
    return [str(label) for label in range(int(labels.max()) + 1)] if len(labels) else []


def _names(note: dict[bytes, bytes], label: str) -> list[str]:
    """Class names from the note that Hugging Face leaves in a parquet file; empty without."""
    info = json.loads(note.get(b"huggingface", b"{}"))
    names: list[str] = info.get("info", {}).get("features", {}).get(label, {}).get("names", [])
    return names


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    try:
        arrow: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"reading {path} needs pyarrow: pip install 'vonenet[parquet]'") from error
    try:
        with arrow.ParquetFile(path, memory_map=True) as file:
            yield file
    except InputError:
        raise
    except (OSError, ValueError) as error:  # what pyarrow's errors are
        reason = str(error).partition("\n")[0]
        raise InputError(f"parquet file {path} cannot be read: {reason}") from error

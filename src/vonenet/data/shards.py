"""Reads WebDataset shards: tar files in which the files of one image share their name's stem.

Every shard is listed once, then images are read where they lie, so shuffling is exact.
"""

import glob
import json
import os
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from vonenet.data.decoding import broken_image
from vonenet.data.folders import IMAGE_SUFFIXES
from vonenet.data.parquet import numbered
from vonenet.data.stores import EncodedStore, Labelled
from vonenet.errors import InputError

BLOCK = 512
# Key and suffix: `train/n01_7.seg.png` is the `seg.png` of `train/n01_7`
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")
RANGE = re.compile(r"(\d+)\.\.(\d+)")


def find_shards(address: str) -> list[Path]:
    """The tar files that a path, a glob or braces such as `{000..099}` or `{a,b}` stand for.

    Raises:
        InputError: If one is not there, or the address stands for none.
    """
    paths: list[Path] = []
    for pattern in expand_braces(str(Path(address).expanduser())):
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
        paths += map(Path, found)
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(
            f"{len(missing)} of {len(paths)} shards are not there; first: {missing[0]}"
        )
    if not paths:
        raise InputError(f"no shard is called {address!r}")
    return paths


def expand_braces(pattern: str) -> Iterator[str]:
    """Every name that braces stand for, as a shell would: `{08..10}` and `{train,val}`."""
    braces = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if braces is None:
        yield pattern
        return
    inside = braces.group(1)
    choices = _numbers(*run.groups()) if (run := RANGE.fullmatch(inside)) else inside.split(",")
    for choice in choices:
        yield from expand_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _numbers(first: str, last: str) -> list[str]:
    padded = any(len(end) > 1 and end[0] == "0" for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    return [str(n).zfill(width) for n in range(int(first), int(last) + step, step)]


def open_shards(paths: Sequence[Path]) -> Labelled:
    """Lists shards; a label is the number in a `.cls` file, or the "label" in a `.json` file.

    Raises:
        InputError: If a shard is damaged or unfinished, or an image has no label.
    """
    keys: list[bytes] = []
    places = array("q")  # shard, offset, size and label, image after image
    shards = tqdm(paths, desc="list shards", unit="shard", delay=2, leave=False)
    for number, path in enumerate(shards):
        with path.open("rb") as file:
            for sample, image in _samples(file, path):
                keys.append(os.fsencode(sample.key))
                places.extend((number, *image, _label(sample, file, path)))
    table = np.array(places, dtype=np.int64).reshape(-1, 4)
    labels = torch.from_numpy(table[:, 3].copy())
    return Labelled(ShardStore(paths, keys, table[:, :3]), labels, numbered(labels))


@dataclass
class _Sample:
    """The files in a shard that share a key: where each lies, by suffix."""

    key: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict)

    def image(self) -> tuple[int, int] | None:
        """Offset and size of the first file that is an image."""
        found = (place for suffix, place in self.members.items() if f".{suffix}" in IMAGE_SUFFIXES)
        return next(found, None)


class ShardStore(EncodedStore):
    """Images inside tar files.

    A shard is opened for every image anew: no two processes ever share a position in a file, and
    any number of shards can be read.

    Args:
        paths: The tar files.
        keys: Of the images.
        places: (N, 3) int64: number of its shard, offset in it and size in bytes of each image.
    """

    def __init__(self, paths: Sequence[Path], keys: Sequence[bytes], places: np.ndarray) -> None:
        self._paths = [str(path) for path in paths]
        self._keys = np.array(keys)
        self._places = places

    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file."""
        shard, offset, size = self._places[index].tolist()
        try:
            with open(self._paths[shard], "rb") as file:  # noqa: PTH123
                file.seek(offset)
                encoded = file.read(size)
        except OSError as error:
            raise broken_image(self.describe(index), error.strerror or str(error)) from error
        if len(encoded) < size:
            raise broken_image(self.describe(index), "the shard became shorter since it was opened")
        return encoded

    def describe(self, index: int) -> str:
        """The key and the shard of one image."""
        return f"{os.fsdecode(self._keys[index])} in {self._paths[self._places[index, 0]]}"


def _samples(file: BinaryIO, path: Path) -> Iterator[tuple[_Sample, tuple[int, int]]]:
    """The samples of one shard that have an image, in order, with the image's place."""
    sample = _Sample("")
    for member in _members(file, path):
        parts = NAME.fullmatch(member.name)
        if not member.isfile() or parts is None:
            continue
        key, suffix = parts.group(1), parts.group(2).lower()
        if key != sample.key:
            if image := sample.image():
                yield sample, image
            sample = _Sample(key)
        if suffix in sample.members:
            raise InputError(f"shard {path} holds {member.name} twice in a row")
        sample.members[suffix] = (member.offset_data, member.size)
    if image := sample.image():
        yield sample, image


def _members(file: BinaryIO, path: Path) -> Iterator[tarfile.TarInfo]:
    """What a tar file lists. `tarfile` takes any damage for the end, so the end is checked."""
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # or it keeps them all
                end = tar.offset
                yield member
    except tarfile.TarError as error:
        raise InputError(f"shard {path} is damaged, unfinished or packed: {error}") from error
    file.seek(end)
    if file.read(BLOCK) != bytes(BLOCK):
        raise InputError(f"shard {path} is damaged or unfinished from byte {end} on")


def _label(sample: _Sample, file: BinaryIO, path: Path) -> int:
    where = f"{sample.key} in {path}"
    for suffix in ("cls", "json"):
        if suffix in sample.members:
            offset, size = sample.members[suffix]
            file.seek(offset)
            text = file.read(size)
            try:
                return int(text if suffix == "cls" else json.loads(text)["label"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"the .{suffix} of {where} holds no class number") from error
    raise InputError(f"{where} has no label; needed: a .cls file, or a .json file with a label")

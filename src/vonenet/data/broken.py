"""Finds the images of a data set that cannot be decoded, and leaves them out."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import BrokenImageError
from vonenet.errors import InputError

MOST_THREADS = 16
AT_ONCE = 4096  # images that wait for a thread

Found = TypeVar("Found")


@dataclass(frozen=True)
class BrokenImage:
    """An image that cannot be decoded.

    Attributes:
        index: Its number in the data set.
        name: Its path, or shard and key, or file and row.
        reason: Why it cannot be decoded.
    """

    index: int
    name: str
    reason: str


def readable(
    dataset: ImageDataset, *, progress: bool = True
) -> tuple[ImageDataset, list[BrokenImage]]:
    """Decodes every image once and leaves out those that cannot be.

    Returns:
        The data set without them, and them, in their order.

    Raises:
        InputError: If no image can be decoded.
    """
    found = find_broken(dataset, progress=progress)
    return without_broken(dataset, found), found


def find_broken(dataset: ImageDataset, *, progress: bool = True) -> list[BrokenImage]:
    """Decodes every image once, on several threads; those that cannot be, in their order."""
    looks = look_at(dataset, _check, range(len(dataset)), label="check images", progress=progress)
    return [look for look in looks if look is not None]


def without_broken(dataset: ImageDataset, found: Sequence[BrokenImage]) -> ImageDataset:
    """The data set, under the same name, without the images that were found broken in it.

    Raises:
        InputError: If none is left.
    """
    if not found:
        return dataset
    if len(found) == len(dataset):
        first = f"{found[0].name}: {found[0].reason}"
        raise InputError(
            f"none of the {len(found)} images of {dataset.name!r} can be read; {first}"
        )
    kept = torch.ones(len(dataset), dtype=torch.bool)
    kept[[image.index for image in found]] = False
    return dataset.select(kept.nonzero().flatten())


def look_at(
    dataset: ImageDataset,
    look: Callable[[ImageDataset, int], Found],
    indices: Sequence[int],
    *,
    label: str,
    progress: bool,
) -> Iterator[Found]:
    """What a function finds at each index, in order; decoding runs on several threads."""
    threads = min(MOST_THREADS, os.cpu_count() or 1)
    with (
        tqdm(total=len(indices), desc=label, unit="img", disable=not progress) as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        for start in range(0, len(indices), AT_ONCE):
            some = indices[start : start + AT_ONCE]
            for found in pool.map(look, [dataset] * len(some), some):
                bar.update()
                yield found


def _check(dataset: ImageDataset, index: int) -> BrokenImage | None:
    try:
        dataset.whole(index)
    except BrokenImageError as error:
        return BrokenImage(index, error.image, error.reason)
    return None

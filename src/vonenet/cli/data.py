"""`vonenet data inspect`: what is in a data set, and which of its images are broken or repeated."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, median_low
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from vonenet.errors import VOneNetWarning

if TYPE_CHECKING:
    from vonenet.data import ImageDataset

SAMPLE = 2000  # images looked at where not all are
SHOWN = 20  # of each list


@dataclass(frozen=True)
class Data:
    """Look at a data set: splits, counts, classes, sizes, files that are broken or not read.

    Attributes:
        action: what to do: inspect.
        address: a folder (images, parquet or .tar), torchvision/NAME, hub/OWNER/NAME, or embedded.
        split: the part of the data; if not given, the training part, or all of data of one part.
        check_all: decode every image, to find the broken ones.
    """

    action: Positional[Literal["inspect"]]
    address: Annotated[Positional[str], arg(metavar="ADDRESS")]
    split: str | None = None
    check_all: bool = True

    def run(self) -> None:
        """Print the inspection."""
        from vonenet.data import open_dataset

        with warnings.catch_warnings():  # the inspection says it too
            warnings.simplefilter("ignore", VOneNetWarning)
            # This size is the embedded images' own; no other is resized
            split = self.split or ("train", "all", "test")
            data = open_dataset(self.address, split, image_size=28)
        print("\n".join(inspect_data(data, check_all=self.check_all)))


def inspect_data(data: ImageDataset, *, check_all: bool = True, progress: bool = True) -> list[str]:
    """Decode the images of a data set, or 2,000 spread over it; return what it holds, in lines."""
    from vonenet.data.dataset import look_at
    from vonenet.data.decoding import BrokenImageError, stored_mode

    def look(index: int) -> tuple[tuple[int, int], str, str, bytes]:
        image = data.source.image(int(data.indices[index]))
        content = hashlib.blake2b(image.tobytes() + repr((image.mode, image.size)).encode())
        return image.size, stored_mode(image), image.format or "array", content.digest()

    count = len(data) if check_all else min(SAMPLE, len(data))
    indices = [number * len(data) // count for number in range(count)]
    sizes, modes, formats = Counter[tuple[int, int]](), Counter[str](), Counter[str]()
    broken: list[str] = []
    same: dict[bytes, list[int]] = {}
    for index, seen in zip(indices, look_at(look, indices, progress=progress), strict=True):
        if isinstance(seen, BrokenImageError):
            broken.append(f"{seen.image}: {seen.reason}")
            continue
        size, mode, form, digest = seen
        sizes[size] += 1
        modes[mode] += 1
        formats[form] += 1
        same.setdefault(digest, []).append(index)
    repeated = [_copies(group, data) for group in same.values() if len(group) > 1]
    copies = len(indices) - len(broken) - len(same)
    left_out = sorted(data.source.left_out.items())
    sections: dict[str, Iterable[str]] = {
        "splits": [", ".join(data.source.splits)] if data.source.splits else [],
        "classes": _classes(data),
        "sizes": [_sizes(sizes)],
        "modes": [_shares(modes)],
        "formats": [_shares(formats)],
        "not read": [f"{count:,} {kind}" for kind, count in left_out],
        "broken": [f"{len(broken):,} cannot be decoded", *_shown(broken)],
        "repeated": [f"{copies:,} with the same pixels as one before", *_shown(repeated)],
    }
    opened = "all of them" if count == len(data) else f"{count:,} of them, spread over the set,"
    lines = [data.name.rpartition(" ")[0], f"{len(data):,} images, {opened} opened", ""]
    for title, body in sections.items():
        shown = (line.replace(f"{lines[0]}/", "") for line in body)  # the address
        lines += [f"{title if n == 0 else '':<10}{line}" for n, line in enumerate(shown)]
    return [f"{each[:49]}...{each[-46:]}" if len(each) > 98 else each for each in lines]


def _classes(data: ImageDataset) -> Iterable[str]:
    counts = data.labels.bincount(minlength=len(data.classes)).tolist()
    low, high = min(counts), max(counts)
    span = f"{low:,}" if low == high else f"{low:,} to {high:,} (median {median(counts):,g})"
    yield f"{len(counts):,}, with {span} images each"
    if empty := [name for name, n in zip(data.classes, counts, strict=True) if n == 0]:
        yield f"{len(empty):,} without an image: {', '.join(empty)}"
    names = Counter(name.strip().casefold() for name in data.classes)
    if same := [name for name in data.classes if names[name.strip().casefold()] > 1]:
        yield f"{len(same):,} with the name of another: {', '.join(map(repr, same))}"


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "unknown"
    by_area = sorted((width * height, f"{width} x {height}") for width, height in sizes.elements())
    return f"smallest {by_area[0][1]}, median {median_low(by_area)[1]}, largest {by_area[-1][1]}"


def _shares(counts: Counter[str]) -> str:
    each = (f"{name} {n:,} ({100 * n / counts.total():.3g} %)" for name, n in counts.most_common())
    return ", ".join(each) or "unknown"


def _copies(group: Sequence[int], data: ImageDataset) -> str:
    first, second = map(data.describe, group[:2])
    more = f" = {len(group) - 2:,} more" if len(group) > 2 else ""
    contradicted = len(set(data.labels[list(group)].tolist())) > 1
    return f"{first} = {second}{more}{', under different labels' if contradicted else ''}"


def _shown(entries: Sequence[str]) -> list[str]:
    more = [f"... and {len(entries) - SHOWN:,} more"] if len(entries) > SHOWN else []
    return [*entries[:SHOWN], *more]

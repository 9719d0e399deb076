"""What a data set holds: counts, sizes, formats, broken and repeated images."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from vonenet.data.broken import BrokenImage, look_at
from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import BrokenImageError
from vonenet.data.embedded import FASHION_SIZE
from vonenet.data.sources import open_dataset

SAMPLE = 2000  # images looked at where not all are
Size = tuple[int, int]


@dataclass(frozen=True)
class DataReport:
    """What was found in a data set.

    Attributes:
        name: Address and split.
        images: How many there are.
        looked_at: How many of them were opened; what follows below `empty_classes` is of these.
        classes: How many class names there are.
        per_class: Images of the smallest class, the median, the largest; empty ones count.
        empty_classes: Names of classes without an image.
        sizes: Width and height in pixels of the smallest, the median and the largest image, by
            area; None if no image can be decoded.
        kinds: How many are "grey", "colour", or have transparency, "alpha".
        modes: How many have each of Pillow's modes.
        formats: How many files have each format; "array" for images that are not kept as files.
        bytes: Of all files, or arrays, together.
        broken: Images that cannot be decoded.
        repeated: Names of images with the same content, group by group.
        contradictions: How many of these groups are under more than one label.
    """

    name: str
    images: int
    looked_at: int
    classes: int
    per_class: tuple[int, float, int]
    empty_classes: tuple[str, ...]
    sizes: tuple[Size, Size, Size] | None
    kinds: Mapping[str, int]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    bytes: int
    broken: tuple[BrokenImage, ...]
    repeated: tuple[tuple[str, ...], ...]
    contradictions: int


@dataclass(frozen=True)
class _Look:
    """What one image is."""

    size: Size
    mode: str
    kind: str
    format: str
    length: int
    digest: bytes


def inspect_data(
    address: str,
    split: str = "train",
    *,
    in_chans: int = 3,
    check_all: bool = True,
    progress: bool = True,
) -> DataReport:
    """Opens a data set, decodes its images and says what it holds.

    Args:
        address: As `open_dataset` takes it.
        split: As `open_dataset` takes it.
        in_chans: 1 (grey) or 3 (RGB).
        check_all: Look at every image; False: at 2,000 spread over the set.
        progress: Show a progress bar.

    Raises:
        InputError: If the data cannot be opened.
    """
    # This size is the embedded images' own; it does not matter to any other.
    dataset = open_dataset(address, split, image_size=FASHION_SIZE, in_chans=in_chans)
    return inspect_dataset(dataset, check_all=check_all, progress=progress)


def inspect_dataset(
    dataset: ImageDataset, *, check_all: bool = True, progress: bool = True
) -> DataReport:
    """Decodes the images of an open data set and says what it holds; see `inspect_data`."""
    count = len(dataset) if check_all else min(SAMPLE, len(dataset))
    indices = [number * len(dataset) // count for number in range(count)]
    found = look_at(dataset, _look, indices, label="look at images", progress=progress)
    sizes: Counter[Size] = Counter()
    kinds, modes, formats = Counter[str](), Counter[str](), Counter[str]()
    broken: list[BrokenImage] = []
    same: dict[bytes, list[int]] = {}
    total = 0
    for index, look in zip(indices, found, strict=True):
        if isinstance(look, BrokenImage):
            broken.append(look)
            continue
        sizes[look.size] += 1
        kinds[look.kind] += 1
        modes[look.mode] += 1
        formats[look.format] += 1
        total += look.length
        same.setdefault(look.digest, []).append(index)
    repeated = [group for group in same.values() if len(group) > 1]
    per_class = torch.bincount(dataset.labels, minlength=len(dataset.classes))
    return DataReport(
        name=dataset.name.rpartition(" ")[0],
        images=len(dataset),
        looked_at=count,
        classes=len(dataset.classes),
        per_class=_spread(per_class.tolist()),
        empty_classes=tuple(dataset.classes[i] for i in (per_class == 0).nonzero().flatten()),
        sizes=_sizes(sizes),
        kinds=kinds,
        modes=modes,
        formats=formats,
        bytes=total,
        broken=tuple(broken),
        repeated=tuple(tuple(map(dataset.describe, group)) for group in repeated),
        contradictions=sum(len(set(dataset.labels[group].tolist())) > 1 for group in repeated),
    )


def _look(dataset: ImageDataset, index: int) -> _Look | BrokenImage:
    try:
        image, encoded = dataset.original(index)
    except BrokenImageError as error:
        return BrokenImage(index, error.image, error.reason)
    content = image.tobytes() if encoded is None else encoded
    kept_as = "array" if encoded is None else str(image.format)
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return _Look(image.size, image.mode, _kind(image), kept_as, len(content), digest)


def _kind(image: Image.Image) -> str:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return "alpha"
    return "grey" if image.mode[0] in "1LIF" else "colour"


def _spread(counts: Sequence[int]) -> tuple[int, float, int]:
    ordered = sorted(counts)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return ordered[0], middle, ordered[-1]


def _sizes(counts: Counter[Size]) -> tuple[Size, Size, Size] | None:
    """The smallest, the (lower) median and the largest of all images' sizes, by area."""
    if not counts:
        return None
    ordered = sorted(counts, key=lambda size: (size[0] * size[1], size))
    passed, half = 0, (counts.total() + 1) // 2
    for size in ordered:
        passed += counts[size]
        if passed >= half:
            return ordered[0], size, ordered[-1]
    raise AssertionError  # half of them are passed at the latest with the largest

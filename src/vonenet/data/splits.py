"""Which part of a data set is meant, and which part a file belongs to."""

from collections.abc import Iterable, Sequence
from pathlib import Path

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


def split_names(asked: str) -> tuple[str, ...]:
    """The names to look for, best first, when a split is asked for."""
    return (asked, *ALSO_CALLED.get(asked, ()))


def choose_split(asked: str, there: Iterable[str], address: str) -> str:
    """The split among those that are there that is meant.

    Raises:
        InputError: If none is, naming those that are there.
    """
    there = list(there)
    for name in split_names(asked):
        if name in there:
            return name
    raise InputError(f"no split {asked!r} in {address!r}; there: {', '.join(sorted(there))}")


def files_of_split(
    paths: Sequence[Path], root: Path, split: str, address: str
) -> tuple[list[Path], str]:
    """The files of one split among `train-00000-of-00002.parquet`, `cifar-test-000.tar` and such.

    A file belongs to the split that a part of its name, or else a folder below `root`, is called.
    Files that name no split are one part, whatever is asked for.

    Returns:
        The files, and what their split is called.

    Raises:
        InputError: If they name splits, but not this one.
    """
    if exact := [path for path in paths if path.name.startswith(f"{split}-")]:
        return exact, split
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(_split_of(path.relative_to(root)), []).append(path)
    if set(groups) == {""}:
        return list(paths), split
    found = choose_split(split, set(groups) - {""}, address)
    return groups[found], found


def _split_of(path: Path) -> str:
    """What a file's split is called; "" if nothing says so."""
    words = [word.rstrip("0123456789_") for word in path.stem.split("-")]
    for word in (*words, *reversed(path.parts[:-1])):
        if word in SPLITS:
            return word
    return words[0] if "-of-" in path.stem else ""

"""Folders of image files: one folder of images per class, at any depth, in natural order."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vonenet.data.dataset import Source
from vonenet.data.decoding import SUFFIXES, read_image_file
from vonenet.errors import InputError, VOneNetWarning
from vonenet.files import natural_key

LOOSE = "images in no folder of a class"
NO_FILE = "pipes, devices and broken links"
# Files that were perhaps meant to be read, of which a warning tells; by suffix, those of pictures
SUSPECT = frozenset({
    LOOSE, NO_FILE, "avif", "dng", "eps", "heic", "heif", "ico", "jp2", "jxl", "npy", "psd", "raw",
    "svg", "tga",
})  # fmt: skip


class FolderSource(Source):
    """A folder with one folder of images, at any depth, per class; a class may have no image.

    Raises:
        InputError: If there is no image, or a folder cannot be read.

    Warns:
        VOneNetWarning: Of files that were perhaps meant to be read and are not.
    """

    def __init__(self, root: Path) -> None:
        entries = _entries(root)
        classes = sorted((each.name for each in entries if _is_folder(each)), key=natural_key)
        found, left_out = list_images([root / name for name in classes], above=root)
        for entry in entries:
            if not _is_folder(entry):
                left_out[LOOSE if _suffix(entry.name) in SUFFIXES else _suffix(entry.name)] += 1
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(left_out.items()))
        files = [path for paths in found for path in paths]
        if not files:
            needed = "needed: one folder of images per class"
            others = f"; not read: {kinds}" if kinds else ""
            raise InputError(f"folder {root} holds no image; {needed}{others}")
        if not SUSPECT.isdisjoint(left_out):
            message = f"folder {root} holds files that are not read: {kinds}"
            warnings.warn(message, VOneNetWarning, stacklevel=4)
        counts = torch.tensor([len(paths) for paths in found])
        super().__init__(torch.arange(len(classes)).repeat_interleave(counts), classes, str(root))
        self.left_out = left_out
        # One block of bytes: worker processes share it, which they do not with Python's objects
        self._paths = np.array([os.fsencode(path) for path in files])

    def read(self, index: int) -> bytes:
        """Return one image file."""
        return read_image_file(self.describe(index))

    def file(self, index: int) -> str:
        """Return the path of one image."""
        return self.describe(index)

    def describe(self, index: int) -> str:
        """Return the path of one image."""
        return os.fsdecode(self._paths[index])


def list_images(folders: Sequence[Path], above: Path) -> tuple[list[list[str]], Counter[str]]:
    """Find the image files below each folder, in natural order, and count the others by suffix.

    Every folder is visited once, at its own place before any link to it; links to `above`, and to
    what that lies in, are not followed. What is hidden is passed over.

    Raises:
        InputError: If a folder cannot be read.
    """
    seen = {_identity(each) for each in (above, *above.resolve().parents)}
    found: list[list[str]] = [[] for _ in folders]
    left_out: Counter[str] = Counter()
    waiting: list[tuple[int, str]] = []
    links: list[tuple[int, str]] = []
    for number, top in enumerate(folders):
        (links if top.is_symlink() else waiting).append((number, str(top)))
    while waiting or links:
        if not waiting:
            links.sort(reverse=True)
        number, folder = (waiting or links).pop()
        if (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        for entry in _entries(folder):
            suffix = _suffix(entry.name)
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append((number, entry.path))
            elif suffix not in SUFFIXES:
                left_out[suffix] += 1
            elif Path(entry.path).is_file() if entry.is_symlink() else entry.is_file():
                found[number].append(entry.path)
            else:
                left_out[NO_FILE] += 1
    for top, paths in zip(folders, found, strict=True):
        _sort_naturally(paths, start=len(f"{top}{os.sep}"))
    return found, left_out


def _sort_naturally(paths: list[str], start: int) -> None:
    """Sort paths from a place on, folder by folder: "a/b.png" before "a-b/c.png"."""
    folders: dict[str, list[tuple[str, str]]] = {"": []}

    def key(path: str) -> list[tuple[str, str]]:
        folder, _, name = path[start:].rpartition(os.sep)
        if folder not in folders:
            folders[folder] = [natural_key(each) for each in folder.split(os.sep)]  # noqa: PTH206
        return [*folders[folder], natural_key(name)]

    paths.sort(key=key)


def holds_class_folders(root: Path) -> bool:
    """Tell whether a folder in this folder holds, at any depth, a file named as an image."""
    for child in filter(_is_folder, _entries(root)):
        for _, folders, names in os.walk(child.path):
            folders[:] = [name for name in folders if not _is_hidden(name)]
            if any(_suffix(name) in SUFFIXES and not _is_hidden(name) for name in names):
                return True
    return False


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return what a folder holds that is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not _is_hidden(entry.name)]
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error.strerror}") from error


def _is_hidden(name: str) -> bool:
    """Tell whether a name is that of something hidden, or of what macOS leaves in archives."""
    return name.startswith(".") or name == "__MACOSX"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _identity(folder: Path | str) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _suffix(name: str) -> str:
    """Return what follows a name's last point, in small letters."""
    _, point, suffix = name.rpartition(".")
    return suffix.lower() if point else "no suffix"

"""Digests of images as they are stored, remembered as long as the files stay as they were.

What is remembered is a digest of a whole set, one small file each, in the folder `digests` of
VONENET_HOME (~/.cache/vonenet if that is not set). Its name is a digest of what the set's images
are called and of path, size and time of the files that they are in.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from PIL import Image

from vonenet.errors import InputError
from vonenet.files import write_whole

# A file that changed so shortly before may change again within one tick of the system's clock
RECENT_NS = 2 * 10**9
UNDECODED = "surrogateescape"  # as Python gives names of files that are no text


def digest_of(stored: bytes | Image.Image) -> bytes:
    """Return the sha256 digest of an image file, or of an image's mode, size and values."""
    if isinstance(stored, bytes):
        return hashlib.sha256(stored).digest()
    digest = hashlib.sha256(f"{stored.mode} {stored.size} {stored.getpalette()}".encode())
    digest.update(stored.tobytes())
    return digest.digest()


def place_of_digest(names: Iterable[str], files: Iterable[str | None]) -> Path | None:
    """Return where the digest of a set of images is remembered.

    Args:
        names: What the images are called, in order.
        files: The file that each is in.

    Returns:
        A path; None if an image is in no file, or a file has only just been changed.
    """
    key = hashlib.sha256("\n".join(names).encode(errors=UNDECODED))
    newest = 0
    for file in dict.fromkeys(files):
        if file is None:
            return None
        path = os.path.realpath(file)
        try:
            stat = os.stat(path)  # noqa: PTH116 - a million paths: strings are three times as fast
        except OSError:
            return None  # who reads it says why
        key.update(
            f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n".encode(
                errors=UNDECODED
            )
        )
        newest = max(newest, stat.st_mtime_ns, stat.st_ctime_ns)
    if newest > time.time_ns() - RECENT_NS:
        return None
    home = Path(os.environ.get("VONENET_HOME") or "~/.cache/vonenet").expanduser()
    return home / "digests" / key.hexdigest()


def remembered(place: Path | None, compute: Callable[[], str]) -> str:
    """Return the digest that is kept at a place; without one, compute it and keep it there."""
    if place is None:
        return compute()
    with suppress(OSError, ValueError):
        if re.fullmatch("[0-9a-f]{64}", text := place.read_text("ascii")):
            return text
    digest = compute()
    with suppress(OSError, InputError):  # where nothing can be written it is computed each time
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, digest.encode())
    return digest

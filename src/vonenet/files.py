"""Files that appear whole or not at all; lines and folders that several processes work on."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EBADF, EINVAL, ENOLCK, ENOSYS, ENOTSUP, EPERM
from io import FileIO
from pathlib import Path

from vonenet.errors import InputError

# What some systems and network mounts answer where they have no locks, or cannot sync a folder
NOT_OFFERED = {EBADF, EINVAL, ENOLCK, ENOSYS, ENOTSUP, EPERM}
LOCK = ".lock"
# The workers of a killed process, which hold its locks with it, notice within 5 s
PATIENCE_S, POLL_S = 8.0, 0.005
LONGEST_SUFFIX = 20  # of a temporary file: a long name has to stay one that the system allows
BLOCK_BYTES = 1 << 16
NUMBER = re.compile("[0-9]+")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line.

    Raises:
        InputError: If the disk is full, a folder may not be changed, ...
    """
    _check_name(path)
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def read_whole(path: Path) -> bytes:
    """Read a file.

    Raises:
        InputError: If it is not there, or cannot be read, or is none: a pipe could wait for ever.
    """
    _check_name(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise InputError(f"{path} cannot be read: it is {kind}; allowed: a file")


def _check_name(path: Path) -> None:
    """Refuse what JSON and TOML can hold but no system takes for a name."""
    try:
        usable = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half of a character
        usable = False
    if not usable:
        raise InputError(f"{str(path)!r} cannot be the name of a file")


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file, on disk when this returns.

    Raises:
        InputError: If it cannot be written. An old file stays as it was.
    """
    replace_whole(path, lambda temporary: temporary.write_bytes(content))


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write or replace a file by what `write` makes of a path, on disk when this returns.

    A link stays, and its target is replaced; an old file's permissions are kept. What is no regular
    file, such as a pipe or /dev/stdout, gets the content as it is.

    Raises:
        InputError: If it cannot be written. An old file stays as it was.
    """
    with written(path):
        old = _status(path)
        stream = None if old is None else standard_stream(old)
        if old is None or (stat.S_ISREG(old.st_mode) and stream is None):
            _replace(Path(os.path.realpath(path)), write, old)
        else:
            _pour(path, write, stream)


def _status(path: Path) -> os.stat_result | None:
    """Return what the system knows of a file, or of a link's target; None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def standard_stream(status: os.stat_result) -> int | None:
    """Return the descriptor that this process prints to, if the file is that one."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            if os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
    return None


def _replace(target: Path, write: Callable[[Path], object], old: os.stat_result | None) -> None:
    if old is not None and not os.access(target, os.W_OK):  # a folder alone would permit it
        raise PermissionError(EACCES, os.strerror(EACCES), str(target))
    suffix = target.suffix[-LONGEST_SUFFIX:]
    temporary = target.with_name(f".new-{secrets.token_hex(8)}{suffix}")
    try:
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        if old is not None:
            temporary.chmod(stat.S_IMODE(old.st_mode))
        temporary.replace(target)
        sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _pour(path: Path, write: Callable[[Path], object], stream: int | None) -> None:
    """Write to a device, a pipe or a standard stream, none of which can be replaced."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder, f"content{path.suffix[-LONGEST_SUFFIX:]}")
        write(temporary)
        if stream is not None and sys.stdout is not None:
            sys.stdout.flush()  # what was printed before comes before
        target = path.open("wb") if stream is None else os.fdopen(os.dup(stream), "wb")
        with temporary.open("rb") as content, target:
            shutil.copyfileobj(content, target)


def sync(folder: Path) -> None:
    """Wait until the list of files of a folder is on disk, where the system can do so."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
    finally:
        os.close(descriptor)


def append_lines(path: Path, lines: str | Callable[[], str]) -> None:
    """Append lines of JSON to a file, on disk when this returns; several processes may.

    A last line that a killed process left unfinished is removed first.

    Args:
        path: The file, made with its folder if need be.
        lines: The lines, or a function that returns them, called while no other process appends.

    Raises:
        InputError: If the file cannot be written (a full disk, a folder that may not be changed).
            Lines that were there stay.
    """
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        target = Path(os.path.realpath(path))
        # Not on the file itself, which Windows would then let nobody read
        with _locked(target.with_name(f".{target.name}{LOCK}"), patience_s=math.inf):
            append_own_lines(target, lines if isinstance(lines, str) else lines())


def append_own_lines(path: Path, lines: str) -> None:
    """Append lines of JSON, as `append_lines` does, to a file that no other process writes."""
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            content = lines.encode()
            end = _end_of_lines(file)
            file.seek(end)
            if is_object(rest := file.readall()):
                end, content = end + len(rest), b"\n" + content
            file.truncate(end)
            try:
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def is_object(line: bytes) -> bool:
    """Whether a line is a whole JSON object: one that was cut short is none."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _end_of_lines(file: FileIO) -> int:
    """Return where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        if newline := file.read(end - start).rfind(b"\n") + 1:
            return start + newline
        end = start
    return 0


@contextmanager
def locked_folder(folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Make a folder if need be, and let no other process work in it meanwhile.

    The lock of a process that was killed does not count.

    Raises:
        InputError: Another process works there, or the folder cannot be written.
    """
    with ExitStack() as held:
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(_locked(folder / LOCK, patience_s))
            if file is None:
                holder = _holder(folder / LOCK)
                raise InputError(
                    f"{folder} is in use by {holder}; allowed: another folder, or this one later"
                )
            file.truncate(0)
            file.write(f"\nprocess {os.getpid()} on {platform.node()}".encode())
        yield


def _holder(lock: Path) -> str:
    with suppress(OSError), lock.open("rb", buffering=0) as file:
        file.seek(1)  # Windows lets nobody read the byte that is locked, the first one
        return file.readall().decode(errors="replace") or "another process"
    return "another process"


@contextmanager
def _locked(path: Path, patience_s: float) -> Iterator[FileIO | None]:
    """Make a file and hold its lock, which the system frees with the process; remove it at the end.

    Yields:
        The file; None if another process still holds the lock when patience is at its end.
    """
    from filelock import unlock_descriptor  # takes a tenth of a second to import

    deadline = time.monotonic() + patience_s
    while True:
        with path.open("a+b", buffering=0) as file, ExitStack() as after:
            if _lock(file):
                # Closing does not free it while a forked process has the file open
                after.callback(_quietly, unlock_descriptor, file.fileno())
                # One that was removed in between guards nothing
                if (now := _status(path)) and os.path.samestat(now, os.fstat(file.fileno())):
                    after.callback(_quietly, path.unlink)  # Windows removes no open file
                    yield file
                    return
            elif time.monotonic() > deadline:
                yield None
                return
        time.sleep(POLL_S)


def _lock(file: FileIO) -> bool:
    """Lock a file, where the system can do so; False if another process holds the lock."""
    from filelock import lock_descriptor

    try:
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
    return True


def _quietly(work: Callable[..., object], *arguments: object) -> None:
    with suppress(OSError):
        work(*arguments)


def natural_key(text: str) -> tuple[str, str]:
    """Return what sorts names as people count: "2" before "10", "stim9" before "stim10"."""
    # Names of equal numbers, "1" and "01", have an order too
    return NUMBER.sub(_by_length, text.replace("\0", "\0\U0010ffff")), text


def _by_length(number: re.Match[str]) -> str:
    """Return text in which numbers come before all else, the shorter ones first."""
    digits = number[0].lstrip("0")
    return f"\0{chr(len(digits))}{digits}"

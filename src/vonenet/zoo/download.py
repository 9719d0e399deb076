"""One file over HTTP(S): checked, and in place whole or not at all.

Beside `name` lie `name.part` (the bytes that have come) and `name.lock` while it is fetched, and
`name.sha256` (as sha256sum writes it) afterwards.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from ssl import SSLCertVerificationError, SSLError
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock
from tqdm import tqdm

from vonenet.errors import DownloadError

RETRY_WAITS_S = (0.5, 2.0)  # before the second and the third attempt
SILENCE_S = 30.0  # of the server, after which an attempt is given up
BLOCK_BYTES = 1 << 20
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_NETWORK_ERRORS = (URLError, HTTPException, ConnectionError, TimeoutError, SSLError)


def download(url: str, destination: Path, *, check: Callable[[Path], object]) -> Path:
    """Bring `url` to `destination`, unless it is there already, with a bar on a terminal.

    Of several processes that ask for the same file, one downloads and the others wait for it.

    Args:
        url: address, http or https.
        destination: path of the file; its folder is made.
        check: called with the path of the complete file before it is put in place; refuses it by
            raising CheckpointError.

    Returns:
        `destination`.

    Raises:
        DownloadError: the file could not be fetched, stored, or was refused.
    """
    part = destination.with_name(f"{destination.name}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{destination}.lock"):
            if not destination.exists():  # another process may have brought it meanwhile
                try:
                    _receive(url, part)
                    check(part)
                    part.replace(destination)
                finally:
                    part.unlink(missing_ok=True)
                record_sha256(destination)
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(
            f"cannot download {url}: {_reason(error)}; try again, or put the file at {destination} "
            "by hand"
        ) from error
    return destination


def record_sha256(path: Path) -> None:
    """Note beside a file its SHA-256."""
    line = f"{file_hash(path, 'sha256')}  {path.name}\n"
    _sha256_note(path).write_text(line, encoding="utf-8")


def is_as_recorded(path: Path) -> bool | None:
    """Tell whether the file has the SHA-256 noted beside it; None without a legible note.

    The whole file is read each time: a damaged disk changes neither size nor date, and hashing
    costs less than loading.
    """
    try:
        note = _sha256_note(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    recorded = re.match(r"[0-9a-f]{64}\b", note)
    return None if recorded is None else recorded[0] == file_hash(path, "sha256")


def file_hash(path: Path, algorithm: str) -> str:
    """Return a file's hash in hexadecimal digits, by an algorithm of `hashlib`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _receive(url: str, part: Path) -> None:
    """Write what is at `url` to `part`, in one of three attempts."""
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    for wait_s in (*RETRY_WAITS_S, None):
        try:
            _receive_once(url, part)
            return
        except _NETWORK_ERRORS as error:
            if isinstance(error, HTTPError):
                error.close()
                may_pass = error.code in PASSING_STATUS
            else:
                may_pass = not isinstance(_cause(error), SSLCertVerificationError)
            if wait_s is None or not may_pass:
                raise
        time.sleep(wait_s)


def _receive_once(url: str, part: Path) -> None:
    request = Request(url, headers={"User-Agent": "vonenet"})  # noqa: S310 - checked above
    with urlopen(request, timeout=SILENCE_S) as response:  # noqa: S310 - as above
        if response.status != 200:
            raise HTTPError(url, response.status, response.reason, response.headers, None)
        total_bytes = response.length
        with (
            part.open("wb") as file,
            tqdm(desc=part.stem, total=total_bytes, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while block := response.read1(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    n_bytes = part.stat().st_size
    if total_bytes is not None and n_bytes != total_bytes:
        raise ConnectionError(f"{n_bytes} of {total_bytes} bytes came")


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}".rstrip()
    cause = _cause(error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {SILENCE_S:g} s"
    return " ".join(str(cause).split()) or type(cause).__name__


def _cause(error: Exception) -> BaseException | str:
    return error.reason if isinstance(error, URLError) else error


def _sha256_note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")

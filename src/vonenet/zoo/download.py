"""One file over HTTP(S): resumed where it stopped, checked, and in place whole or not at all.

Neither pooch (which does not resume) nor huggingface_hub (which resumes files of its own hub, and
takes any bytes for the rest) can go on after a break and know that the file is still the same one.

Beside `name` lie `name.part` (the bytes that have come), `name.part.version` (which version of the
remote file they are of) and `name.lock` while it is fetched, and `name.sha256` (as sha256sum writes
it) afterwards.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from ssl import SSLCertVerificationError, SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock

from vonenet.bars import progress_bar
from vonenet.errors import DownloadError

RETRY_WAITS_S = (0.5, 2.0)  # before the second and the third attempt
SILENCE_S = 30.0  # of the server, after which an attempt is given up
TOTAL_S = 6 * 3600.0  # of one call; a server may send a byte now and then for ever
LARGEST_BYTES = 4 << 30  # the largest published file has 0.6 GB
BLOCK_BYTES = 1 << 20
PASSING_STATUS = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
SCHEMES = ("http://", "https://")
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
        DownloadError: the file could not be fetched, stored, or was refused, or took more than
            `TOTAL_S` or `LARGEST_BYTES`. What had come of a broken or slow transfer is kept for the
            next call; a refused file is not.
    """
    part = destination.with_name(f"{destination.name}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{destination}.lock"):
            if not destination.exists():  # another process may have brought it meanwhile
                _receive(url, part)
                try:
                    check(part)
                except ValueError:
                    _discard(part)
                    raise
                record_sha256(destination, content=part)
                part.replace(destination)
                _version_note(part).unlink(missing_ok=True)
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(
            f"cannot download {url}: {_reason(error)}; try again, or put the file at {destination} "
            "by hand"
        ) from error
    return destination


def record_sha256(path: Path, *, content: Path) -> None:
    """Note beside `path` the SHA-256 of `content`, the file that is or will be there."""
    line = f"{file_hash(content, 'sha256')}  {path.name}\n"
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


class _OnlyHttp(HTTPRedirectHandler):
    """Follow redirects to web addresses only; Python's own follows them to ftp too."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the request for the new address, or refuse it."""
        if not newurl.lower().startswith(SCHEMES):
            fp.close()
            raise ValueError(f"the server sends us to {newurl}, which is not on the web")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, part: Path) -> None:
    """Complete `part` in three attempts; each goes on where the one before it stopped."""
    if not url.lower().startswith(SCHEMES):
        raise ValueError("the address must begin with http:// or https://")
    ends_s = time.monotonic() + TOTAL_S
    for wait_s in (*RETRY_WAITS_S, None):
        try:
            _receive_once(url, part, ends_s)
            return
        except _NETWORK_ERRORS as error:
            if isinstance(error, HTTPError):
                error.close()
                may_pass = error.code in PASSING_STATUS
                if error.code == 416:  # more bytes are here than there: these are of another file
                    _discard(part)
            else:
                may_pass = not isinstance(_cause(error), SSLCertVerificationError)
            if wait_s is None or not may_pass:
                raise
        time.sleep(wait_s)


def _receive_once(url: str, part: Path, ends_s: float) -> None:
    offset, version = _resume_point(part)
    headers = {"User-Agent": "vonenet"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": version}
    request = Request(url, headers=headers)  # noqa: S310 - checked above
    with _open(request) as response:
        if response.status not in (200, 206):
            raise HTTPError(url, response.status, response.reason, response.headers, None)
        start, total_bytes = _span(response, part, offset, version)
        n_bytes = start
        _check_size(total_bytes or 0, part)
        with (
            part.open("ab" if start else "wb") as file,
            progress_bar(
                desc=part.stem, total=total_bytes, initial=start, unit="B", unit_scale=True
            ) as bar,
        ):
            if not start:  # the old bytes are gone by now, so their note may be overwritten
                _version_note(part).write_text(_version_of(response), encoding="utf-8")
            while block := response.read1(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
                n_bytes += len(block)
                _check_size(n_bytes, part)
                if time.monotonic() > ends_s:
                    raise ValueError(f"{n_bytes} bytes came in {TOTAL_S:g} s, and not all")
    if total_bytes is not None and n_bytes != total_bytes:
        raise ConnectionError(f"{n_bytes} of {total_bytes} bytes came")


def _open(request: Request) -> HTTPResponse:
    response: HTTPResponse = build_opener(_OnlyHttp).open(request, timeout=SILENCE_S)
    return response


def _check_size(n_bytes: int, part: Path) -> None:
    if n_bytes > LARGEST_BYTES:
        _discard(part)
        raise ValueError(f"the file has more than {LARGEST_BYTES} bytes")


def _resume_point(part: Path) -> tuple[int, str]:
    """Return how many bytes are there, and of which version; (0, "") if not known."""
    try:
        version = _version_note(part).read_text(encoding="utf-8").strip()
        return (part.stat().st_size, version) if version else (0, "")
    except (FileNotFoundError, UnicodeDecodeError):
        return 0, ""


def _span(response: HTTPResponse, part: Path, offset: int, version: str) -> tuple[int, int | None]:
    """Return where the server's bytes begin, and the whole file's length (None: not said)."""
    if response.status == 200:
        return 0, response.length
    content_range = response.headers.get("Content-Range", "")
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", content_range.strip())
    if span is None or int(span[1]) != offset or _version_of(response) != version:
        _discard(part)
        raise ConnectionError(f"the server sent a range that was not asked for ({content_range})")
    return offset, int(span[2])


def _version_of(response: HTTPResponse) -> str:
    """Return what tells this version of the remote file from others; "" if not said."""
    etag: str = response.headers.get("ETag", "")
    is_strong = etag and not etag.startswith("W/")  # RFC 9110 13.1.5: If-Range needs a strong one
    return etag if is_strong else response.headers.get("Last-Modified", "")


def _version_note(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_note(part).unlink(missing_ok=True)


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

"""From a misbehaving server to a whole file: every way in which a transfer can go wrong."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any
from urllib.error import URLError

import pytest

from tests.zoo.http_site import (
    BODY,
    FILENAME,
    Behaviour,
    Handler,
    Site,
    append_blindly,
    checkpoint_bytes,
    claim_range,
    cut,
    fetch_quietly,
    honest,
    ignore_range,
    refused,
    shift,
    stall,
    status,
)
from vonenet.zoo import download as download_module
from vonenet.zoo.download import download

pytestmark = pytest.mark.usefixtures("quick_retries")
MODIFIED = {"etag": 'W/"weak"', "modified": "Mon, 01 Jun 2020 00:00:00 GMT"}


# --- the plain way -------------------------------------------------------------------------------


def test_file_is_fetched_once(site: Site, cache: Path) -> None:
    first = fetch_quietly()
    assert first == cache / FILENAME
    assert first.read_bytes() == BODY
    assert fetch_quietly() == first
    assert site.ranges == [None]
    left = {path.name for path in cache.iterdir()} - {f"{FILENAME}.lock"}
    assert left == {FILENAME, f"{FILENAME}.sha256"}
    recorded = (cache / f"{FILENAME}.sha256").read_text()
    assert recorded == f"{hashlib.sha256(BODY).hexdigest()}  {FILENAME}\n"


def test_bar_on_stderr_only_if_wanted(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download(site.url, tmp_path / "quiet", progress=False)
    assert capfd.readouterr() == ("", "")
    download(site.url, tmp_path / "loud")
    out, err = capfd.readouterr()
    assert out == ""
    assert "loud: 100%" in err
    assert "B/s" in err
    site.behaviours = [cut(1000)]
    download(site.url, tmp_path / "resumed")
    assert "resumed: 100%" in capfd.readouterr().err


# --- servers that do not give the file ----------------------------------------------------------


@pytest.mark.parametrize("code", [403, 404, 204])
def test_other_status_is_refused_at_once(site: Site, cache: Path, code: int) -> None:
    site.behaviours = [status(code)]
    refused(fetch_quietly, site.url, f"{code} ", str(cache / FILENAME))
    assert len(site.ranges) == 1
    assert not (cache / FILENAME).exists()


def test_passing_trouble_is_retried(site: Site, cache: Path) -> None:
    site.behaviours = [status(503), status(429)]
    assert fetch_quietly().read_bytes() == BODY
    assert len(site.ranges) == 3


def test_lasting_trouble_is_reported_after_three_attempts(site: Site, cache: Path) -> None:
    site.behaviours = [status(500)] * 9
    refused(fetch_quietly, "500 Internal Server Error")
    assert len(site.ranges) == 3


def test_silent_server(site: Site, cache: Path) -> None:
    site.behaviours = [stall] * 3
    started_s = time.monotonic()
    refused(lambda: fetch_quietly(timeout_s=0.1), "no answer within 0.1 s", site.url, str(cache))
    assert time.monotonic() - started_s < 3


def test_certificate_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def impostor(request: Any, **_: Any) -> None:
        attempts.append(request)
        raise URLError(SSLCertVerificationError(1, "certificate verify failed"))

    monkeypatch.setattr(download_module, "urlopen", impostor)
    refused(
        lambda: download("https://x/x", tmp_path / "x", progress=False), "certificate verify failed"
    )
    assert len(attempts) == 1


def test_closed_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
    refused(lambda: download(url, tmp_path / "x", progress=False), url, str(tmp_path / "x"))


def test_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    refused(
        lambda: download("http://nowhere.invalid/x", tmp_path / "x", progress=False),
        "http://nowhere.invalid/x",
        "Name or service not known",
        str(tmp_path / "x"),
    )


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nonsense"])
def test_only_http(url: str, tmp_path: Path) -> None:
    refused(lambda: download(url, tmp_path / "x", progress=False), url, "http")


def test_folder_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(lambda: download(site.url, tmp_path / "file" / "x", progress=False), "file/x")
    assert site.ranges == []


# --- interrupted transfers -----------------------------------------------------------------------


def test_truncated_body_is_refused_and_kept_for_later(site: Site, cache: Path) -> None:
    def cut_always(handler: Handler) -> None:
        handler.answer(200, BODY, send=1000)

    site.behaviours = [cut_always] * 3
    refused(fetch_quietly, f"1000 of {len(BODY)} bytes", site.url)
    assert not (cache / FILENAME).exists()
    assert (cache / f"{FILENAME}.part").read_bytes() == BODY[:1000]


@pytest.mark.parametrize(
    ("versions", "second", "ranges", "answers"),
    [
        ({}, honest, [None, "bytes=1000-"], [200, 206]),
        (MODIFIED, honest, [None, "bytes=1000-"], [200, 206]),
        ({"etag": None}, honest, [None, None], [200, 200]),
        ({}, ignore_range, [None, "bytes=1000-"], [200, 200]),
        ({}, shift, [None, "bytes=1000-", None], [200, 206, 200]),
        ({}, claim_range("bytes 5-9/*"), [None, "bytes=1000-", None], [200, 206, 200]),
        ({}, claim_range("nonsense"), [None, "bytes=1000-", None], [200, 206, 200]),
    ],
    ids=[
        "only the rest",
        "by date, without a strong etag",
        "anew, without any version",
        "server without ranges",
        "another range than asked for",
        "range of unknown length",
        "nonsense for a range",
    ],
)
def test_next_attempt_goes_on_where_that_is_safe(
    site: Site,
    cache: Path,
    versions: dict[str, str | None],
    second: Behaviour,
    ranges: list[str | None],
    answers: list[int],
) -> None:
    for name, value in versions.items():
        setattr(site, name, value)
    site.behaviours = [cut(1000), second]
    assert fetch_quietly().read_bytes() == BODY
    assert site.ranges == ranges
    assert site.answers == answers


@pytest.mark.parametrize(
    ("second", "answers"), [(honest, [200, 200]), (append_blindly, [200, 206, 200])]
)
def test_file_that_changes_between_attempts(
    site: Site, cache: Path, second: Behaviour, answers: list[int]
) -> None:
    def cut_then_change(handler: Handler) -> None:
        cut(1000)(handler)
        site.body, site.etag = checkpoint_bytes(epoch=70), '"version-2"'

    site.behaviours = [cut_then_change, second]
    assert fetch_quietly().read_bytes() == checkpoint_bytes(epoch=70)
    assert site.answers == answers


@pytest.mark.parametrize("n_bytes", [len(BODY), len(BODY) + 5])
def test_part_that_is_too_long(site: Site, cache: Path, n_bytes: int) -> None:
    cache.mkdir()
    (cache / f"{FILENAME}.part").write_bytes(b"x" * n_bytes)
    (cache / f"{FILENAME}.part.version").write_text('"version-1"')
    assert fetch_quietly().read_bytes() == BODY
    assert site.ranges == [f"bytes={n_bytes}-", None]


def test_part_of_unknown_origin_is_not_used(site: Site, cache: Path) -> None:
    cache.mkdir()
    (cache / f"{FILENAME}.part").write_bytes(b"x" * 1000)
    assert fetch_quietly().read_bytes() == BODY
    assert site.ranges == [None]


# --- several at once -----------------------------------------------------------------------------


def test_threads_share_one_download(site: Site, cache: Path) -> None:
    together = threading.Barrier(4)

    def one(_: int) -> Path:
        together.wait()
        return fetch_quietly()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {cache / FILENAME}
    assert len(site.ranges) == 1


def test_processes_share_one_download(site: Site, tmp_path: Path) -> None:
    both_are_here = threading.Event()

    def wait_for_both(handler: Handler) -> None:
        both_are_here.wait(10)
        honest(handler)

    site.behaviours = [wait_for_both]
    code = (
        "import sys; from pathlib import Path; from vonenet.zoo.download import download;"
        "print('ready', flush=True);"
        "print(download(sys.argv[1], Path(sys.argv[2]), progress=False))"
    )
    command = [sys.executable, "-c", code, site.url, str(tmp_path / "x")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    both_are_here.set()
    answers = [process.communicate(timeout=20)[0] for process in processes]
    assert answers == [f"{tmp_path / 'x'}\n"] * 2
    assert len(site.ranges) == 1

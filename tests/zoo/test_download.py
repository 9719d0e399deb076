"""From a misbehaving server to a whole file: every way in which a transfer can go wrong."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from ssl import SSLCertVerificationError
from urllib.error import URLError

import pytest

from tests.zoo.http_site import (
    BODY,
    FILENAME,
    append_blindly,
    checkpoint_bytes,
    claim_range,
    cut,
    fetch_it,
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


def into(url, path):
    return lambda: download(url, path, check=Path.is_file)


def test_file_is_fetched_once(site, cache):
    first = fetch_it()
    assert first == cache / FILENAME
    assert first.read_bytes() == BODY
    assert fetch_it() == first
    assert len(site.ranges) == 1
    left = {path.name for path in cache.iterdir()} - {f"{FILENAME}.lock"}
    assert left == {FILENAME, f"{FILENAME}.sha256"}
    recorded = (cache / f"{FILENAME}.sha256").read_text()
    assert recorded == f"{hashlib.sha256(BODY).hexdigest()}  {FILENAME}\n"


@pytest.mark.parametrize("code", [403, 404, 204])
def test_other_status_is_refused_at_once(site, cache, code):
    site.behaviours = [status(code)]
    refused(fetch_it, site.url, f"{code} ", str(cache / FILENAME))
    assert len(site.ranges) == 1
    assert not (cache / FILENAME).exists()


def test_passing_trouble_is_retried_and_lasting_trouble_reported(site, cache):
    site.behaviours = [status(500)] * 3
    refused(fetch_it, "500 Internal Server Error")
    assert len(site.ranges) == 3
    site.behaviours = [status(503), status(429)]
    assert fetch_it().read_bytes() == BODY
    assert len(site.ranges) == 6


def test_silent_server(site, cache, monkeypatch):
    monkeypatch.setattr(download_module, "SILENCE_S", 0.1)
    site.behaviours = [stall] * 3
    started_s = time.monotonic()
    refused(fetch_it, "no answer within 0.1 s", site.url, str(cache))
    assert time.monotonic() - started_s < 3


def test_certificate_that_is_not_trusted(tmp_path, monkeypatch):
    attempts = []

    def impostor(request):
        attempts.append(request)
        raise URLError(SSLCertVerificationError(1, "certificate verify failed"))

    monkeypatch.setattr(download_module, "_open", impostor)
    refused(into("https://x/x", tmp_path / "x"), "certificate verify failed")
    assert len(attempts) == 1


def test_unknown_host(tmp_path, monkeypatch):
    def no_such_name(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    url, path = "http://nowhere.invalid/x", tmp_path / "x"
    refused(into(url, path), url, "Name or service not known", str(path))


def test_only_http_and_only_into_a_folder(site, tmp_path):
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "nonsense"):
        refused(into(url, tmp_path / "x"), url, "http")
    (tmp_path / "file").touch()
    refused(into(site.url, tmp_path / "file" / "x"), "file/x")
    assert site.ranges == []


@pytest.mark.parametrize("where", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://x/"])
def test_redirects_go_to_web_addresses_only(site, cache, where):
    site.behaviours = [lambda handler: handler.answer(302, b"", Location=where)]
    refused(fetch_it, where, site.url)
    assert len(site.ranges) == 1
    site.behaviours = [lambda handler: handler.answer(302, b"", Location=site.url)]
    assert fetch_it().read_bytes() == BODY


def drip(handler):
    """A byte now and then, which is no silence."""
    handler.answer(200, handler.server.body, send=0)
    for byte in handler.server.body[:300]:
        if handler.server.closing.wait(0.01):
            return
        handler.wfile.write(bytes([byte]))


def test_a_slow_transfer_ends_and_is_kept(site, cache, monkeypatch):
    monkeypatch.setattr(download_module, "TOTAL_S", 0.3)
    site.behaviours = [drip]
    started_s = time.monotonic()
    refused(fetch_it, "bytes came in 0.3 s, and not all", str(cache))
    assert time.monotonic() - started_s < 2
    came = len((cache / f"{FILENAME}.part").read_bytes())
    assert 0 < came < 300
    assert fetch_it().read_bytes() == BODY
    assert site.ranges == [None, f"bytes={came}-"]


def unannounced(handler):
    """More than the server said, or it did not say."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(handler.server.body)


@pytest.mark.parametrize("behaviour", [honest, unannounced])
def test_a_file_that_is_too_large_is_not_stored(site, cache, monkeypatch, behaviour):
    monkeypatch.setattr(download_module, "LARGEST_BYTES", 1000)
    site.behaviours = [behaviour] * 3
    refused(fetch_it, "more than 1000 bytes", site.url)
    assert not list(cache.glob(f"{FILENAME}*[!k]"))
    assert len(site.ranges) == 1


def test_truncated_body_is_refused_and_kept_for_later(site, cache):
    site.behaviours = [cut(1000)] * 3
    refused(fetch_it, f"1000 of {len(BODY)} bytes", site.url)
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
def test_next_attempt_goes_on_where_that_is_safe(site, cache, versions, second, ranges, answers):
    for name, value in versions.items():
        setattr(site, name, value)
    site.behaviours = [cut(1000), second]
    assert fetch_it().read_bytes() == BODY
    assert site.ranges == ranges
    assert site.answers == answers


@pytest.mark.parametrize(
    ("second", "answers"), [(honest, [200, 200]), (append_blindly, [200, 206, 200])]
)
def test_file_that_changes_between_attempts(site, cache, second, answers):
    def cut_then_change(handler):
        cut(1000)(handler)
        site.body, site.etag = checkpoint_bytes(epoch=70), '"version-2"'

    site.behaviours = [cut_then_change, second]
    assert fetch_it().read_bytes() == checkpoint_bytes(epoch=70)
    assert site.answers == answers


@pytest.mark.parametrize(
    ("n_bytes", "version", "ranges"),
    [
        (len(BODY), '"version-1"', [f"bytes={len(BODY)}-", None]),
        (len(BODY) + 5, '"version-1"', [f"bytes={len(BODY) + 5}-", None]),
        (1000, None, [None]),
    ],
)
def test_part_that_is_too_long_or_of_unknown_origin_is_not_used(
    site, cache, n_bytes, version, ranges
):
    cache.mkdir()
    (cache / f"{FILENAME}.part").write_bytes(b"x" * n_bytes)
    if version:
        (cache / f"{FILENAME}.part.version").write_text(version)
    assert fetch_it().read_bytes() == BODY
    assert site.ranges == ranges


def test_processes_share_one_download(site, tmp_path):
    both_are_here = threading.Event()

    def wait_for_both(handler):
        both_are_here.wait(10)
        honest(handler)

    site.behaviours = [wait_for_both]
    code = (
        "import sys; from pathlib import Path; from download import download;"
        "print('ready', flush=True);"
        "print(download(sys.argv[1], Path(sys.argv[2]), check=Path.is_file))"
    )
    command = [sys.executable, "-c", code, site.url, str(tmp_path / "x")]
    folder = str(Path(download_module.__file__).parent)  # without the rest of `zoo`: it is quicker
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    both_are_here.set()
    answers = [process.communicate(timeout=20)[0] for process in processes]
    assert answers == [f"{tmp_path / 'x'}\n"] * 2
    assert len(site.ranges) == 1

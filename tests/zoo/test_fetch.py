"""What is let into the cache of published weights, and noticing when it is damaged there."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.zoo.http_site import BODY, FILENAME, Site, checkpoint_bytes, fetch_quietly, refused
from vonenet.errors import CheckpointError
from vonenet.zoo.download import is_as_recorded
from vonenet.zoo.weights import read_torch_file

# --- contents that are refused -------------------------------------------------------------------


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def bit_flipped(body: bytes) -> bytes:
    tensor = torch.arange(6000.0).numpy().tobytes()
    position = body.index(tensor) + 777
    return body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html><html>sign in</html>", "HTML or XML page"),
        (b'\xef\xbb\xbf\n<?xml version="1.0"?><Error>AccessDenied</Error>', "HTML or XML page"),
        (b"", "empty"),
        (BODY[:-100], "truncated, damaged"),
        (BODY[:2000] + BODY[2100:], "damaged"),
        (bit_flipped(BODY), "checksum"),
        (BODY.replace(b"PK\x01\x02\0\0\0\0", b"PK\x01\x02\0\0\x63\0"), "damaged archive"),
        (b'{"message": "rate limit"}', "no file of torch.save"),
    ],
    ids=["html", "xml", "empty", "truncated", "hole", "bit", "zip version", "json"],
)
def test_content_is_refused(site: Site, cache: Path, body: bytes, reason: str) -> None:
    site.body = body
    refused(fetch_quietly, reason, site.url, str(cache / FILENAME))
    assert not list(cache.glob(f"{FILENAME}*[!k]"))  # no file, part or note; a lock may stay


def test_hostile_content_is_refused_and_never_run(site: Site, cache: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    site.body = checkpoint_bytes(optimizer=Hostile(canary))
    refused(fetch_quietly, "mkdir", site.url)
    assert not canary.exists()
    assert not (cache / FILENAME).exists()


def test_the_canary_sings() -> None:
    """Shows that the hostile file of the test above is one: an unsafe reader runs it."""
    with pytest.raises(FileNotFoundError):
        torch.load(
            io.BytesIO(checkpoint_bytes(optimizer=Hostile(Path("/no/such/folder")))),
            weights_only=False,
        )


def test_known_sha1(site: Site, cache: Path) -> None:
    refused(lambda: fetch_quietly(sha1="0" * 40), "SHA-1", "0" * 40, site.url)
    assert not (cache / FILENAME).exists()
    assert fetch_quietly(sha1=hashlib.sha1(BODY).hexdigest()).exists()


# --- the file in the cache -----------------------------------------------------------------------


def damage(path: Path) -> None:
    """One bit, with size and date as before."""
    stat = path.stat()
    path.write_bytes(bit_flipped(path.read_bytes()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_damage_in_the_cache_is_noticed(site: Site, cache: Path) -> None:
    path = fetch_quietly()
    damage(path)
    read_torch_file(path)  # torch itself does not notice
    with pytest.raises(CheckpointError, match=r"damaged.*delete it and .*sha256") as caught:
        fetch_quietly()
    assert str(path) in str(caught.value)
    assert len(site.ranges) == 1


def test_remedy_for_damage_works(site: Site, cache: Path) -> None:
    path = fetch_quietly()
    damage(path)
    path.unlink()
    (cache / f"{FILENAME}.sha256").unlink()
    assert fetch_quietly().read_bytes() == BODY


def test_file_put_by_hand_is_examined_once_and_recorded(site: Site, cache: Path) -> None:
    cache.mkdir()
    path = cache / FILENAME
    path.write_bytes(bit_flipped(BODY))
    with pytest.raises(CheckpointError, match=r"checksum.*delete it to download it again"):
        fetch_quietly()
    path.write_bytes(BODY)
    with pytest.raises(CheckpointError, match="SHA-1"):
        fetch_quietly(sha1="0" * 40)
    assert fetch_quietly() == path
    assert is_as_recorded(path)
    assert site.ranges == []


def test_illegible_record_counts_as_none(site: Site, cache: Path) -> None:
    path = fetch_quietly()
    (cache / f"{FILENAME}.sha256").write_text("")
    assert is_as_recorded(path) is None
    fetch_quietly()
    assert is_as_recorded(path)


def test_cache_that_cannot_be_written(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / FILENAME).write_bytes(BODY)

    def read_only(*_: Any, **__: Any) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", read_only)
    monkeypatch.setattr(Path, "mkdir", read_only)
    assert fetch_quietly() == cache / FILENAME

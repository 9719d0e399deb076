"""A misbehaving site, and an empty cache that is filled from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zoo.http_site import FILENAME, Site
from vonenet.zoo import download as download_module


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "RETRY_WAITS_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site(quick_retries: None) -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.closing.set()
    site.shutdown()
    site.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("VONENET_HOME", str(cache))
    monkeypatch.setenv("VONENET_WEIGHTS_URL", site.url.removesuffix(FILENAME))
    return cache

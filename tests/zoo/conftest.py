"""A misbehaving site, and an empty cache that is filled from it."""

import threading

import pytest

from tests.zoo.http_site import FILENAME, Site
from vonenet.zoo import download as download_module


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(download_module, "RETRY_WAITS_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def site(quick_retries):
    site = Site()
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.closing.set()
    site.shutdown()
    site.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path, site, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("VONENET_HOME", str(cache))
    monkeypatch.setenv("VONENET_WEIGHTS_URL", site.url.removesuffix(FILENAME))
    return cache

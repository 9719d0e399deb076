"""A local site with one weights file that misbehaves as told, and the weights file."""

import io
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from vonenet.errors import DownloadError
from vonenet.zoo.weights import PublishedWeights, fetch

FILENAME = "weights.pth.tar"


def checkpoint_bytes(**content):
    file = io.BytesIO()
    state_dict = {"layer.weight": torch.arange(6000.0).reshape(60, 100)}
    torch.save({"state_dict": state_dict, "flags": {"arch": "resnet50"}, **content}, file)
    return file.getvalue()


BODY = checkpoint_bytes()
Behaviour = Callable[["Handler"], None]


class Site(ThreadingHTTPServer):
    """A site with one file: `behaviours` answer the first requests, `honest` the others."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.etag: str | None = '"version-1"'
        self.modified: str | None = None
        self.behaviours: list[Behaviour] = []
        self.ranges: list[str | None] = []  # the Range header of each request
        self.answers: list[int] = []  # the status of each answer
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/{FILENAME}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        self.server.ranges.append(self.headers["Range"])
        behaviours = self.server.behaviours
        (behaviours.pop(0) if behaviours else honest)(self)

    def log_message(self, *_):
        pass

    def answer(self, status, body, *, send=None, **headers):
        """Announce the whole `body`, send the first `send` bytes of it."""
        self.server.answers.append(status)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        fields = {"ETag": self.server.etag, "Last-Modified": self.server.modified}
        for name, value in fields.items():
            if value is not None:
                self.send_header(name, value)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:send])


def honest(handler):
    """Range and If-Range as RFC 9110 wants them."""
    site = handler.server
    wanted = handler.headers["Range"]
    condition = handler.headers["If-Range"]
    is_current = condition in (None, site.etag, site.modified)
    if wanted is None or not is_current or (condition or "").startswith("W/"):
        handler.answer(200, site.body)
        return
    start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
    if start >= len(site.body):
        handler.answer(416, b"")
        return
    span = f"bytes {start}-{len(site.body) - 1}/{len(site.body)}"
    handler.answer(206, site.body[start:], Content_Range=span)


def cut(n_bytes):
    return lambda handler: handler.answer(200, handler.server.body, send=n_bytes)


def status(code):
    return lambda handler: handler.answer(code, b"<html>an explanation</html>")


def ignore_range(handler):
    handler.answer(200, handler.server.body)


def claim_range(content_range):
    return lambda handler: handler.answer(206, handler.server.body, Content_Range=content_range)


def append_blindly(handler, shift=0):
    """A server that knows Range but not If-Range."""
    body = handler.server.body
    start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    start, end = start - shift, len(body) - shift
    span = f"bytes {start}-{end - 1}/{len(body)}"
    handler.answer(206, body[start:end], Content_Range=span)


def shift(handler):
    """As many bytes as are wanted, but others."""
    append_blindly(handler, shift=1000)


def stall(handler):
    handler.server.closing.wait(10)


def fetch_it(sha1=None):
    return fetch(PublishedWeights(FILENAME, sha1))


def refused(call, *parts):
    """The call must fail with one line that holds all `parts`."""
    with pytest.raises(DownloadError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message

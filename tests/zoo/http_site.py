"""A local site with one weights file that misbehaves as told, and the weights file."""

import io
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
        self.behaviours: list[Behaviour] = []
        self.n_requests = 0
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/{FILENAME}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        self.server.n_requests += 1
        behaviours = self.server.behaviours
        (behaviours.pop(0) if behaviours else honest)(self)

    def log_message(self, *_):
        pass

    def answer(self, status, body, *, send=None):
        """Announce the whole `body`, send the first `send` bytes of it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:send])


def honest(handler):
    handler.answer(200, handler.server.body)


def cut(n_bytes):
    return lambda handler: handler.answer(200, handler.server.body, send=n_bytes)


def status(code):
    return lambda handler: handler.answer(code, b"<html>an explanation</html>")


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

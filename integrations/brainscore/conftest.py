"""What every test can count on: no network, fresh weights, nothing kept in the user's folders."""

import socket

import pytest
import torch
from brainscore_vision.benchmark_helpers import screen
from brainscore_vision.models.vonenet import model as plugin


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    monkeypatch.setenv(plugin.WEIGHTS_VARIABLE, plugin.FRESH)
    monkeypatch.setenv("RESULTCACHING_DISABLE", "1")
    monkeypatch.setattr(screen, "root_path", tmp_path / "screen")

    def refuse(self, address):
        raise OSError(f"tests are offline, refused {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.manual_seed(0)

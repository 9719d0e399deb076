"""What every test can count on: one thread's determinism, golden numbers, no network."""

import socket
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "random files and command lines (tests/fuzz)")
    group.addoption("--fuzz-seed", type=int, default=0, help="seed of the cases")
    group.addoption("--fuzz-times", type=float, default=1.0, help="times as many cases")


@pytest.fixture(scope="session")
def golden_parameters() -> Mapping[str, np.ndarray]:
    return np.load(GOLDEN / "gabor_params.npz")


@pytest.fixture(scope="session")
def golden_outputs() -> Mapping[str, np.ndarray]:
    return np.load(GOLDEN / "outputs.npz")


@pytest.fixture(autouse=True)
def _seeded_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Global seeds for tests that draw weights; connections leave this machine in no test."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"tests are offline, refused {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)

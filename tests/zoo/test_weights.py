"""Where published weights are, and reading a training checkpoint without running any of it."""

from __future__ import annotations

import os
import struct
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vonenet.errors import CheckpointError
from vonenet.zoo.weights import PUBLISHED, cache_dir, read_torch_file

STATE_DICT = {"module.bottleneck.weight": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture(params=["zip", "legacy"])
def save(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Writes a checkpoint in one of torch's two formats."""

    def write(content: object) -> Path:
        path = tmp_path / "x.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def reason(path: Path) -> str:
    """Why a file is refused: one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "weights_only" not in message
    assert isinstance(caught.value.__cause__, OSError | None)  # no text of torch in the traceback
    return message


# --- addresses and places ------------------------------------------------------------------------


def test_addresses_are_the_published_ones() -> None:
    files = {key: weights.url.rsplit("/", 1) for key, weights in PUBLISHED.items()}
    assert {base for base, _ in files.values()} == {
        "https://vonenet-models.s3.us-east-2.amazonaws.com"
    }
    assert {key: name for key, (_, name) in files.items()} == {
        "resnet50": "voneresnet50_e70.pth.tar",
        "cornets": "vonecornets_e70.pth.tar",
        "alexnet": "vonealexnet_e70.pth.tar",
        "resnet50_at": "voneresnet50_at_e96.pth.tar",
        "resnet50_ns": "voneresnet50_ns_e70.pth.tar",
    }
    assert all(key == weights.key for key, weights in PUBLISHED.items())
    known = {key: weights.sha1 for key, weights in PUBLISHED.items() if weights.sha1}
    assert known == {"resnet50_ns": "c270528818d6d7fc67a6aec86919d47311ad6221"}


@pytest.mark.parametrize("mirror", ["http://mirror/vone", "http://mirror/vone/"])
def test_mirror(mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VONENET_WEIGHTS_URL", mirror)
    assert PUBLISHED["alexnet"].url == "http://mirror/vone/vonealexnet_e70.pth.tar"


def test_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for unset in ("VONENET_HOME", "HOME", "USERPROFILE"):
        monkeypatch.delenv(unset, raising=False)
    assert cache_dir() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("VONENET_HOME", "")
    assert cache_dir() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VONENET_HOME", "~/.vonenet")
    assert cache_dir() == tmp_path / ".vonenet"


# --- what is read --------------------------------------------------------------------------------


def test_training_checkpoint_is_read(save: Any) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    written = {
        "flags": {"arch": "resnet50", "stride": 4, "k_exc": 25.0, "noise_mode": None},
        "epoch": 70,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    read = read_torch_file(save(written))
    assert read["flags"] == written["flags"]
    assert read["epoch"] == 70
    torch.testing.assert_close(read["state_dict"], dict(model.state_dict()), rtol=0, atol=0)
    assert read["optimizer"]["param_groups"][0]["lr"] == 0.1


SCALARS = [
    np.float64(0.1),
    np.float32(0.5),
    np.float16(0.5),
    np.int64(-7),
    np.uint8(200),
    np.bool_(True),
    np.str_("neuronal, \N{GREEK SMALL LETTER SIGMA}"),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_numpy_scalars_in_flags_become_plain_values(save: Any, scalar: np.generic) -> None:
    value = read_torch_file(save({"state_dict": STATE_DICT, "flags": {"x": scalar}}))["flags"]["x"]
    assert value == scalar.item()
    assert type(value) is type(scalar.item())


def test_namespace_in_flags(save: Any) -> None:
    flags = Namespace(arch="alexnet", lr=np.float64(0.01), resume=None)
    read = read_torch_file(save({"state_dict": STATE_DICT, "flags": flags}))
    assert read["flags"] == Namespace(arch="alexnet", lr=0.01, resume=None)


def test_scalar_of_a_big_endian_machine(save: Any) -> None:
    unpickle = np.float64(0).__reduce__()[0]
    scalar = Runs(unpickle, np.dtype(">f8"), struct.pack(">d", 0.1))
    assert read_torch_file(save({"state_dict": STATE_DICT, "flags": scalar}))["flags"] == 0.1


def test_scalars_of_the_other_numpy(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    content = {"state_dict": STATE_DICT, "flags": np.float64(0.1)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    old, new = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"
    other = written.replace(new, old) if new in written else written.replace(old, new)
    assert other != written
    path.write_bytes(other)
    assert read_torch_file(path)["flags"] == 0.1


def test_reading_accepts_nothing_for_others(save: Any) -> None:
    path = save({"state_dict": STATE_DICT, "flags": Namespace()})
    read_torch_file(path)  # torch adds types of its own at first use
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([Namespace]):
        read_torch_file(path)
        assert Namespace in torch.serialization.get_safe_globals()
    read_torch_file(path)
    assert set(torch.serialization.get_safe_globals()) == before


def test_threads_read_at_once(save: Any) -> None:
    path = save({"state_dict": STATE_DICT, "flags": Namespace(lr=np.float64(0.1))})
    with ThreadPoolExecutor(8) as pool:
        assert all(read["flags"].lr == 0.1 for read in pool.map(read_torch_file, [path] * 100))


# --- what is refused -----------------------------------------------------------------------------


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_hostile_file_is_refused_and_never_run(save: Any, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for function in (os.mkdir, Path.touch):
        path = save({"state_dict": STATE_DICT, "flags": Runs(function, canary)})
        assert "which may run code" in reason(path)
    path = save({"state_dict": STATE_DICT, "flags": Runs(eval, f"open({str(canary)!r}, 'w')")})
    assert "eval" in reason(path)
    assert not canary.exists()


class Forged:
    """A numpy data type with internal flags (of objects, among others) that no number has."""

    def __init__(self, byte_order: str = "<") -> None:
        self.state = (3, byte_order, None, None, None, -1, -1, 0x3F)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("f8", False, True), self.state


def test_file_cannot_forge_numpy_types(save: Any) -> None:
    """numpy's own unpickling would: the flags make it take the bytes of numbers for addresses."""
    forged = np.dtype("f8", copy=True)
    forged.__setstate__(Forged().state)
    assert forged.hasobject
    content = {"state_dict": STATE_DICT, "x": Forged(), "y": Runs(np.dtype, "f8", False, True)}
    read = read_torch_file(save(content))
    assert not isinstance(read["x"], np.dtype)
    assert not isinstance(read["y"], np.dtype)
    assert "ValueError" in reason(save({"state_dict": STATE_DICT, "x": Forged("f8,")}))


@pytest.mark.parametrize("code", ["O", "V8", "f8,O", "M8[s]", "f16"])
def test_only_numbers_and_strings_of_numpy(save: Any, code: str) -> None:
    assert "ValueError" in reason(save({"state_dict": STATE_DICT, "x": Runs(np.dtype, code)}))


@pytest.mark.parametrize(
    "content",
    [
        STATE_DICT,
        {"state_dict": {}},
        {"state_dict": [torch.zeros(1)]},
        {"state_dict": {"a": 1.0}},
        {"state_dict": {1: torch.zeros(1)}},
        [1, 2],
    ],
    ids=["bare", "empty", "list", "number", "key", "no dict"],
)
def test_other_content_is_refused(save: Any, content: object) -> None:
    assert '"state_dict" of tensors' in reason(save(content))


@pytest.mark.parametrize("kept", [0, 1, 10, 100, 0.5, -1])
def test_truncated_file_is_refused(save: Any, kept: float) -> None:
    path = save({"state_dict": STATE_DICT, "flags": {"text": "x" * 500}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    assert ("it is empty" if kept == 0 else "truncated, damaged") in reason(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "No such file" in reason(tmp_path / "absent.pth.tar")
    assert "directory" in reason(tmp_path)

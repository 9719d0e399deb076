"""Published weights: where they are, reading them without running any of it, and their cache."""

import hashlib
import os
import struct
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.zoo.http_site import BODY, FILENAME, checkpoint_bytes, fetch_it, refused
from vonenet.errors import CheckpointError
from vonenet.zoo.download import is_as_recorded
from vonenet.zoo.weights import PUBLISHED, cache_dir, read_torch_file

STATE_DICT = {"module.bottleneck.weight": torch.arange(6.0).reshape(2, 3)}


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    """Writes a checkpoint in one of torch's two formats."""

    def write(content):
        path = tmp_path / "x.pth.tar"
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def reason(path):
    """Why a file is refused: one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        read_torch_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "weights_only" not in message
    assert isinstance(caught.value.__cause__, OSError | None)  # no text of torch in the traceback
    return message


def test_addresses_are_the_published_ones(monkeypatch):
    site = "https://vonenet-models.s3.us-east-2.amazonaws.com/"
    assert {key: weights.url for key, weights in PUBLISHED.items()} == {
        "resnet50": f"{site}voneresnet50_e70.pth.tar",
        "cornets": f"{site}vonecornets_e70.pth.tar",
        "alexnet": f"{site}vonealexnet_e70.pth.tar",
        "resnet50_at": f"{site}voneresnet50_at_e96.pth.tar",
        "resnet50_ns": f"{site}voneresnet50_ns_e70.pth.tar",
    }
    known = {key: weights.sha1 for key, weights in PUBLISHED.items() if weights.sha1}
    assert known == {"resnet50_ns": "c270528818d6d7fc67a6aec86919d47311ad6221"}
    for mirror in ("http://mirror/vone", "http://mirror/vone/"):
        monkeypatch.setenv("VONENET_WEIGHTS_URL", mirror)
        assert PUBLISHED["alexnet"].url == "http://mirror/vone/vonealexnet_e70.pth.tar"


def test_cache_is_where_the_user_wants_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for unset in ("VONENET_HOME", "HOME", "USERPROFILE"):
        monkeypatch.delenv(unset, raising=False)
    assert cache_dir() == tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("VONENET_HOME", "")
    assert cache_dir() == tmp_path / "torch" / "hub" / "checkpoints"
    for name, value in (
        ("HOME", tmp_path),
        ("USERPROFILE", tmp_path),
        ("VONENET_HOME", "~/.vonenet"),
    ):
        monkeypatch.setenv(name, str(value))
    assert cache_dir() == tmp_path / ".vonenet"


def test_training_checkpoint_is_read(save):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    written = {
        "flags": Namespace(arch="resnet50", stride=4, k_exc=25.0, noise_mode=None),
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


def test_numpy_scalars_in_flags_become_plain_values(save):
    read = read_torch_file(save({"state_dict": STATE_DICT, "flags": SCALARS}))["flags"]
    plain = [scalar.item() for scalar in SCALARS]
    assert read == plain
    assert [type(value) for value in read] == [type(value) for value in plain]


def test_scalar_of_a_big_endian_machine(save):
    unpickle = np.float64(0).__reduce__()[0]
    scalar = Runs(unpickle, np.dtype(">f8"), struct.pack(">d", 0.1))
    assert read_torch_file(save({"state_dict": STATE_DICT, "flags": scalar}))["flags"] == 0.1


def test_scalars_of_the_other_numpy(tmp_path):
    path = tmp_path / "x.pth"
    content = {"state_dict": STATE_DICT, "flags": np.float64(0.1)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    old, new = b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n"
    other = written.replace(new, old) if new in written else written.replace(old, new)
    assert other != written
    path.write_bytes(other)
    assert read_torch_file(path)["flags"] == 0.1


def test_reading_accepts_nothing_for_others(save):
    path = save({"state_dict": STATE_DICT, "flags": Namespace()})
    read_torch_file(path)  # torch adds types of its own at first use
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([Namespace]):
        read_torch_file(path)
        assert Namespace in torch.serialization.get_safe_globals()
    read_torch_file(path)
    assert set(torch.serialization.get_safe_globals()) == before


def test_threads_read_at_once(save):
    path = save({"state_dict": STATE_DICT, "flags": Namespace(lr=np.float64(0.1))})
    with ThreadPoolExecutor(8) as pool:
        assert all(read["flags"].lr == 0.1 for read in pool.map(read_torch_file, [path] * 100))


class Runs:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_hostile_file_is_refused_and_never_run(save, tmp_path):
    canary = tmp_path / "canary"
    for function in (os.mkdir, Path.touch):
        path = save({"state_dict": STATE_DICT, "flags": Runs(function, canary)})
        assert "which may run code" in reason(path)
    path = save(
        {"state_dict": STATE_DICT, "flags": Runs(eval, f"__import__('os').mkdir({str(canary)!r})")}
    )
    assert "eval" in reason(path)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # which shows that the file is a hostile one
    assert canary.exists()


class Forged:
    """A numpy data type with internal flags (of objects, among others) that no number has."""

    def __init__(self, byte_order="<"):
        self.state = (3, byte_order, None, None, None, -1, -1, 0x3F)

    def __reduce__(self):
        return np.dtype, ("f8", False, True), self.state


def test_file_cannot_forge_numpy_types(save):
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
def test_only_numbers_and_strings_of_numpy(save, code):
    assert "ValueError" in reason(save({"state_dict": STATE_DICT, "x": Runs(np.dtype, code)}))


@pytest.mark.parametrize(
    "content",
    [
        {"weights": STATE_DICT},
        {"state_dict": {}},
        {"state_dict": [torch.zeros(1)]},
        {"state_dict": {"a": 1.0}},
        {"state_dict": {1: torch.zeros(1)}},
        [1, 2],
    ],
    ids=["other name", "empty", "list", "number", "key", "no dict"],
)
def test_other_content_is_refused(save, content):
    assert "no state dict of tensors" in reason(save(content))


@pytest.mark.parametrize("key", [None, "model", "model_state_dict", "net"])
def test_state_dict_by_other_names(save, key):
    content = STATE_DICT if key is None else {key: STATE_DICT, "epoch": 1}
    assert read_torch_file(save(content))["state_dict"].keys() == STATE_DICT.keys()


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i8", "u1", "?"])
def test_arrays_of_numbers_become_tensors_and_paths_text(save, tmp_path, dtype):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    read = read_torch_file(save({"model": {"a": array}, "out": tmp_path, "names": np.array(["x"])}))
    assert np.array_equal(read["state_dict"]["a"].numpy(), array)
    assert read["out"].endswith(tmp_path.name)
    assert "ValueError" in reason(save({"state_dict": STATE_DICT, "x": np.array([{}], object)}))


@pytest.mark.parametrize("kept", [0, 1, 10, 100, 0.5, -1])
def test_truncated_file_is_refused(save, kept):
    path = save({"state_dict": STATE_DICT, "flags": {"text": "x" * 500}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    assert ("it is empty" if kept == 0 else "truncated, damaged") in reason(path)
    assert "directory" in reason(path.parent)
    path.unlink()
    assert "No such file" in reason(path)


def bit_flipped(body):
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
        (checkpoint_bytes(optimizer=Runs(os.mkdir, "canary")), "mkdir"),
    ],
    ids=["html", "xml", "empty", "truncated", "hole", "bit", "zip version", "json", "hostile"],
)
def test_content_is_refused(site, cache, body, reason):
    site.body = body
    refused(fetch_it, reason, site.url, str(cache / FILENAME))
    assert not list(cache.glob(f"{FILENAME}*[!k]"))  # no file, part or note; a lock may stay
    site.body = BODY
    refused(lambda: fetch_it(sha1="0" * 40), "SHA-1", "0" * 40)
    assert not list(cache.glob(f"{FILENAME}*[!k]"))


def damage(path):
    """One bit, with size and date as before."""
    stat = path.stat()
    path.write_bytes(bit_flipped(path.read_bytes()))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_damage_in_the_cache_is_noticed_and_the_remedy_works(site, cache):
    path = fetch_it()
    damage(path)
    read_torch_file(path)  # torch itself does not notice
    with pytest.raises(CheckpointError, match=r"damaged.*delete it and .*sha256") as caught:
        fetch_it()
    assert str(path) in str(caught.value)
    assert len(site.ranges) == 1
    path.unlink()
    (cache / f"{FILENAME}.sha256").unlink()
    assert fetch_it().read_bytes() == BODY


def test_file_put_by_hand_is_examined_once_and_recorded(site, cache):
    cache.mkdir()
    path = cache / FILENAME
    path.write_bytes(bit_flipped(BODY))
    with pytest.raises(CheckpointError, match=r"checksum.*delete it to download it again"):
        fetch_it()
    path.write_bytes(BODY)
    with pytest.raises(CheckpointError, match="SHA-1"):
        fetch_it(sha1="0" * 40)
    assert fetch_it() == path
    assert is_as_recorded(path)
    (cache / f"{FILENAME}.sha256").write_text("")
    assert is_as_recorded(path) is None
    fetch_it(sha1=hashlib.sha1(BODY).hexdigest())
    assert is_as_recorded(path)
    assert site.ranges == []


def test_cache_that_cannot_be_written(site, cache, monkeypatch):
    cache.mkdir()
    (cache / FILENAME).write_bytes(BODY)

    def read_only(*_, **__):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", read_only)
    monkeypatch.setattr(Path, "mkdir", read_only)
    assert fetch_it() == cache / FILENAME

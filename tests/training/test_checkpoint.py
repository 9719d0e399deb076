"""Checkpoints: whole or not there, two of them, and one line where they cannot be written."""

import errno
import shutil
from pathlib import Path

import pytest
import torch

from vonenet.errors import CheckpointError, InputError, VOneNetWarning
from vonenet.training.checkpoint import read_checkpoint, write_checkpoint


def write(run, number):
    weights = {"model": {"weight": torch.full((3, 2), float(number))}, "step": number}
    write_checkpoint(run, weights, {"state": {"epoch": number}, "rate": 0.1 + number / 3})


def written_last(run):
    """The number of the checkpoint that is read; all of it is checked."""
    found = read_checkpoint(run)
    assert found is not None
    parts, facts = found
    number = parts["step"]
    assert torch.equal(parts["model"]["weight"], torch.full((3, 2), float(number)))
    assert facts == {"state": {"epoch": number}, "rate": 0.1 + number / 3}
    return number


def test_the_last_one_is_read_back(tmp_path):
    assert read_checkpoint(tmp_path) is None
    for number in range(4):
        write(tmp_path, number)
        assert written_last(tmp_path) == number
    assert {path.name for path in tmp_path.iterdir()} == {"last", "previous"}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, turn_a_bit, Path.unlink])
@pytest.mark.parametrize("name", ["state.pt", "state.json"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, harm, name):
    for number in (1, 2):
        write(tmp_path, number)
    harm(tmp_path / "last" / name)
    with pytest.warns(VOneNetWarning, match=r"last is damaged.*goes on from .*previous"):
        assert written_last(tmp_path) == 1
    # the damaged one is gone: it must not push the good one out
    write(tmp_path, 3)
    shutil.rmtree(tmp_path / "last")
    assert written_last(tmp_path) == 1


def test_two_damaged_ones_are_an_error(tmp_path):
    for number in (1, 2):
        write(tmp_path, number)
        cut(tmp_path / "last" / "state.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


STEPS = ("mkdir", "write_bytes", "replace", "rename")


@pytest.mark.parametrize("call", range(9))
@pytest.mark.parametrize("failure", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_no_moment_leaves_a_run_without_one(tmp_path, monkeypatch, call, failure):
    """Writing fails, or the process dies, at each of its steps on the disk."""
    for number in (1, 2):
        write(tmp_path, number)
    calls = 0

    def failing(original):
        def step(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise failure
            return original(*arguments, **keywords)

        return step

    with monkeypatch.context() as patched:
        for name in STEPS:
            patched.setattr(Path, name, failing(getattr(Path, name)))
        patched.setattr(shutil, "rmtree", failing(shutil.rmtree))
        if isinstance(failure, Killed):
            with pytest.raises(Killed):
                write(tmp_path, 3)
        elif call < 8:
            words = "cannot be written: No space left on device; the checkpoint .* is still good"
            with pytest.raises(InputError, match=words):
                write(tmp_path, 3)
    assert written_last(tmp_path) in (1, 2, 3)
    write(tmp_path, 4)
    assert written_last(tmp_path) == 4

"""The log of a training: which lines count, what a kill leaves, what is refused in one line."""

import json
from math import inf, isnan, nan

import pytest

from tests.report.training_runs import epoch, step
from vonenet.errors import InputError, VOneNetWarning
from vonenet.report.training_log import Epoch, read_log


def write(tmp_path, lines, rest=""):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)
    return path


def test_epochs_are_read_and_steps_left_alone(tmp_path):
    path = write(tmp_path, [step(1), epoch(1, 2.0, 0.25, 0.5), step(3), epoch(2, 1.0)])
    first, second = read_log(path)
    assert first == Epoch(1, 2.0, 0.25, 0.1, 500.0, 60.0, 0.5)
    assert (second.epoch, second.loss) == (2, 1.0)


def test_fields_that_are_not_known_yet_are_left_alone(tmp_path):
    (only,) = read_log(write(tmp_path, [epoch(1, gradient_norm=3.0), {"kind": "note"}]))
    assert only.epoch == 1


def test_of_an_epoch_told_twice_the_later_line_counts(tmp_path):
    lines = [epoch(1, 5.0), epoch(2, 4.0), epoch(1, 3.0)]
    assert [(e.epoch, e.loss) for e in read_log(write(tmp_path, lines))] == [(1, 3.0), (2, 4.0)]


def test_a_run_without_log_has_no_epochs(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []
    assert read_log(write(tmp_path, [])) == []


def test_a_last_line_that_a_kill_cut_is_left_out_with_a_warning(tmp_path):
    path = write(tmp_path, [epoch(1)], rest=json.dumps(epoch(2))[:30])
    with pytest.warns(VOneNetWarning, match=r"last line of .*log.jsonl is unfinished"):
        assert [e.epoch for e in read_log(path)] == [1]


def test_numbers_that_are_none_are_kept_as_such(tmp_path):
    lines = [epoch(1, nan, nan, nan), epoch(2, inf), epoch(3, validation=None)]
    first, second, third = read_log(write(tmp_path, lines))
    assert isnan(first.loss)
    assert isnan(first.accuracy)
    assert first.validation_accuracy is None
    assert second.loss == inf
    assert third.validation_accuracy is None


BROKEN = {
    "no JSON": ("{kind", "line 2 of .*log.jsonl is not a line of a training log: Expecting"),
    "another kind of JSON": ([1, 2], "line 2 of"),
    "no kind": ({"epoch": 1}, "no 'kind'"),
    "no loss": (epoch(1, loss=None), "no 'loss'"),
    "epoch 0": (epoch(0), "epoch 0; allowed: 1 or more"),
    "half an epoch": (epoch(1.5), "epoch 1.5"),
    "true": (epoch(1, loss=True), "True is no number"),
    "words": (epoch(1, loss="high"), "'high' is no number"),
    "accuracy": (epoch(1, accuracy=50.0), "accuracy 50.0; allowed: 0 to 1"),
    "validation": (epoch(1, validation=-0.1), "accuracy -0.1; allowed: 0 to 1"),
    "rate": (epoch(1, learning_rate=nan), "nan of a rate or a time"),
    "no time": (epoch(1, seconds=inf), "inf of a rate or a time"),
    "time": (epoch(1, seconds=-1), "-1.0 of a rate or a time"),
    "huge": (epoch(1, loss=10**400), "too large"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_lines_that_are_none_are_refused_in_one_line(tmp_path, name):
    line, words = BROKEN[name]
    path = write(tmp_path, [epoch(1)])
    text = line if isinstance(line, str) else json.dumps(line)
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(InputError, match=words) as error:
        read_log(path)
    assert "line 2 of" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(InputError, match="line 1 of"):
        read_log(path)

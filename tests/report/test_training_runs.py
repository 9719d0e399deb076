"""Folders of training runs: what is read of them, what they are called, what is refused."""

import json
from math import inf, isnan, nan
from pathlib import Path

import pytest

from tests.report.training_runs import START, epoch, learning, recipe, start, step, write_run
from tests.training.toys import Watched, toy_images, toy_model, toy_recipe
from vonenet.errors import InputError, VOneNetWarning
from vonenet.report.training_runs import read_epochs, read_runs
from vonenet.results import EpochRecord
from vonenet.training import train

STORED = Path(__file__).parents[2] / "results" / "training"


def test_a_run_is_read_when_it_was_stopped_and_when_it_has_ended(tmp_path):
    def stop(asked):
        if asked == 250:  # of 200 images an epoch
            raise InterruptedError

    images, folder = toy_images(), tmp_path / "toy"
    with pytest.raises(InterruptedError):
        train(toy_model(), Watched(images, stop), toy_recipe(), out=folder, progress=False)
    (run,) = read_runs([folder])
    assert ([each.epoch for each in run.epochs], run.finished) == ([1], False)
    log = train(toy_model(), images, toy_recipe(), out=folder, progress=False)
    (run,) = read_runs([folder])
    assert run.epochs == log.epochs
    assert (run.finished, len(run.starts), run.validated, run.best) == (True, 2, [], None)
    assert (run.label, run.planned, run.is_base) == ("toy", 2, False)
    assert run.starts[0].processes == "1"
    assert run.starts[0].versions.startswith("vonenet ")
    assert run.starts[0].command


@pytest.mark.parametrize("name", [path.name for path in sorted(STORED.iterdir())])
def test_the_stored_runs_are_read(name):
    (run,) = read_runs([STORED / name])
    assert [each.epoch for each in run.epochs] == list(range(1, run.planned + 1))
    assert run.finished
    assert len(run.validated) == run.planned
    assert run.best[1] == max(accuracy for _, accuracy in run.validated)


def test_starts_are_told_in_order(tmp_path):
    starts = [start(2, gpu="H100"), start(commit=None), start(git=None, machine=None, versions={})]
    (run,) = read_runs([write_run(tmp_path / "run", [epoch(1)], starts=starts)])
    one, two, three = run.starts
    assert (one.processes, one.machine, one.command) == ("2", "H100", START["command"])
    assert (one.commit, one.versions) == ("234ed69, changed", "vonenet 0.1.0, torch 2.15.0")
    assert two.machine == "x86_64, 2 cores"
    assert (three.commit, three.machine, three.versions) == ("", "", "")


def test_the_best_epoch_is_the_first_of_equals(tmp_path):
    lines = [epoch(n, validation=v) for n, v in ((1, 0.2), (2, 0.6), (3, None), (4, 0.6))]
    (run,) = read_runs([write_run(tmp_path / "run", lines)])
    assert run.best == (2, 0.6)
    assert run.validated == [(1, 0.2), (2, 0.6), (4, 0.6)]


@pytest.mark.parametrize(
    ("done", "ended", "finished"),
    [(2, "2026-11-24", True), (3, None, True), (2, None, False), (0, None, False)],
)
def test_a_run_is_finished_when_it_says_so_or_all_epochs_are_there(tmp_path, done, ended, finished):
    lines = learning(3, 0.7)[:done]
    (run,) = read_runs([write_run(tmp_path / "a", lines, toml=recipe(base=True), finished=ended)])
    assert run.finished == finished
    assert run.network == "base network of voneresnet18"


def test_a_log_alone_is_enough(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run", [epoch(1)], starts=None)])
    assert (run.recipe, run.starts, run.planned, run.network) == ({}, [], None, "")
    assert not run.finished


def test_runs_are_called_as_their_folders_with_what_tells_them_apart(tmp_path):
    names = ["a/photos", "b/photos", "c/x/photos", "d/x/photos", "e/other"]
    runs = read_runs([write_run(tmp_path / name, [epoch(1)]) for name in names])
    assert [run.label for run in runs] == [*names[:4], "other"]


BROKEN_FILES = {
    "TOML": ("recipe.toml", "[model", "recipe.toml is damaged"),
    "no tables": ("recipe.toml", "model = 3", "has model=3; allowed: tables only"),
    "epochs": ("recipe.toml", "[optimization]\nepochs = 0", "optimization.epochs=0; allowed: 1"),
    "words": ("recipe.toml", "[optimization]\nepochs = 'ten'", "optimization.epochs='ten'"),
    "JSON": ("run.json", "{", "run.json is damaged"),
    "list": ("run.json", "[]", "run.json is damaged: it holds list"),
    "encoding": ("run.json", b"\xff", "run.json is damaged"),
    "starts": ("run.json", '{"starts": [3]}', "does not describe the starts"),
    "no starts": ("run.json", '{"starts": null}', "does not describe the starts"),
    "processes": ("run.json", '{"starts": [{"processes": "two"}]}', "does not describe the starts"),
    "machine": ("run.json", '{"starts": [{"machine": "mine"}]}', "does not describe the starts"),
    "versions": ("run.json", '{"starts": [{"versions": 3}]}', "does not describe the starts"),
    "log": ("log.jsonl", b"\xff\xfe\x00\n", "line 1 of .* is not a line of a training log"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    file, content, words = BROKEN_FILES[name]
    folder = write_run(tmp_path / "run", [epoch(1)], toml=recipe())
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as error:
        read_runs([folder])
    assert "\n" not in str(error.value)


def write_log(tmp_path, lines, rest=""):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)
    return path


def test_epochs_are_read_and_other_lines_and_fields_left_alone(tmp_path):
    lines = [step(1), epoch(1, 2.0, 0.25, 0.5, gradient_norm=3.0), {"kind": "note"}, epoch(2, 1.0)]
    first, second = read_epochs(write_log(tmp_path, lines))
    assert first == EpochRecord(1, 2.0, 0.25, 0.1, 500.0, 60.0, 0.5)
    assert (second.epoch, second.loss) == (2, 1.0)


def test_of_an_epoch_told_twice_the_later_line_counts(tmp_path):
    lines = [epoch(1, 5.0), epoch(2, 4.0), epoch(1, 3.0)]
    found = read_epochs(write_log(tmp_path, lines))
    assert [(each.epoch, each.loss) for each in found] == [(1, 3.0), (2, 4.0)]


def test_a_run_without_log_has_no_epochs(tmp_path):
    assert read_epochs(tmp_path / "log.jsonl") == []
    assert read_epochs(write_log(tmp_path, [])) == []


def test_a_last_line_that_a_kill_cut_is_left_out_with_a_warning(tmp_path):
    path = write_log(tmp_path, [epoch(1)], rest=json.dumps(epoch(2))[:30])
    with pytest.warns(VOneNetWarning, match=r"last line of .*log.jsonl is unfinished"):
        assert [each.epoch for each in read_epochs(path)] == [1]


def test_numbers_that_are_none_are_kept_as_such(tmp_path):
    lines = [epoch(1, nan, nan, nan), epoch(2, inf), epoch(3, validation=None)]
    first, second, third = read_epochs(write_log(tmp_path, lines))
    assert isnan(first.loss)
    assert isnan(first.accuracy)
    assert first.validation_accuracy is None
    assert second.loss == inf
    assert third.validation_accuracy is None


BROKEN_LINES = {
    "no JSON": ("{kind", "is not a line of a training log: Expecting"),
    "another kind of JSON": ([1, 2], "is not a line of a training log"),
    "no kind": ({"epoch": 1}, "no 'kind'"),
    "no loss": (epoch(1, loss=None), "no 'loss'"),
    "epoch 0": (epoch(0), "epoch 0; allowed: 1 to inf"),
    "half an epoch": (epoch(1.5), "epoch 1.5"),
    "true": (epoch(1, loss=True), "loss True is no number"),
    "words": (epoch(1, loss="high"), "loss 'high' is no number"),
    "accuracy": (epoch(1, accuracy=50.0), "accuracy 50.0; allowed: 0 to 1"),
    "validation": (epoch(1, validation=-0.1), "validation_accuracy -0.1; allowed: 0 to 1"),
    "rate": (epoch(1, learning_rate=nan), "learning_rate nan; allowed"),
    "no time": (epoch(1, seconds=inf), "seconds inf; allowed"),
    "time": (epoch(1, seconds=-1), "seconds -1; allowed: 0"),
    "huge": (epoch(1, loss=10**400), "too large"),
}


@pytest.mark.parametrize("name", BROKEN_LINES)
def test_lines_that_are_none_are_refused_in_one_line(tmp_path, name):
    line, words = BROKEN_LINES[name]
    path = write_log(tmp_path, [epoch(1)])
    text = line if isinstance(line, str) else json.dumps(line)
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(InputError, match=words) as error:
        read_epochs(path)
    assert "line 2 of" in str(error.value)
    assert "\n" not in str(error.value)

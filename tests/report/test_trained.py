"""Folders of training runs: what is read of them, what they are called, what is refused."""

from pathlib import Path

import pytest

from tests.report.training_runs import START, epoch, learning, recipe, start, write_run
from tests.training.toys import Watched, toy_images, toy_model, toy_recipe
from vonenet.errors import InputError
from vonenet.report.trained import read_runs
from vonenet.training import train

STORED = Path(__file__).parents[2] / "results" / "training"


def test_what_a_training_writes_is_read(tmp_path):
    images, folder = toy_images(), tmp_path / "toy"
    log = train(toy_model(), images, toy_recipe(), validation=images, out=folder, progress=False)
    (run,) = read_runs([folder])
    assert run.label == "toy"
    assert list(map(vars, run.epochs)) == list(map(vars, log.epochs))
    assert (run.planned, run.schedule, run.is_base) == (2, "cosine", False)
    assert run.finished
    (only,) = run.starts
    assert only.processes == 1
    assert only.versions.startswith("vonenet ")
    assert only.command


def test_a_run_that_was_stopped_is_read_before_and_after_it_goes_on(tmp_path):
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
    assert list(map(vars, run.epochs)) == list(map(vars, log.epochs))
    assert (run.finished, len(run.starts), run.validated, run.best) == (True, 2, [], None)


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
    assert (one.processes, one.machine) == (2, "H100")
    assert (one.commit, one.versions) == ("234ed69, changed", "vonenet 0.1.0, torch 2.15.0")
    assert two.machine == "x86_64, 2 cores"
    assert (three.commit, three.machine, three.versions) == ("", "", "")
    assert run.commands == [START["command"]]


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
    folder = tmp_path / "run"
    write_run(folder, learning(3, 0.7)[:done], toml=recipe(epochs=3), finished=ended)
    (run,) = read_runs([folder])
    assert run.finished == finished


def test_a_log_alone_is_enough(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run", [epoch(1)], starts=None)])
    assert (run.recipe, run.starts, run.planned, run.network) == ({}, [], None, "")
    assert not run.finished


def test_base_networks_are_called_so(tmp_path):
    toml = recipe("voneresnet18", base=True)
    (run,) = read_runs([write_run(tmp_path / "run", [], toml=toml)])
    assert run.network == "base network of voneresnet18"


def test_runs_are_called_as_their_folders_with_what_tells_them_apart(tmp_path):
    names = ["a/photos", "b/photos", "c/x/photos", "d/x/photos", "e/other"]
    runs = read_runs([write_run(tmp_path / name, [epoch(1)]) for name in names])
    assert [run.label for run in runs] == [*names[:4], "other"]


BROKEN = {
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
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    file, content, words = BROKEN[name]
    folder = write_run(tmp_path / "run", [epoch(1)], toml=recipe())
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words) as error:
        read_runs([folder])
    assert "\n" not in str(error.value)

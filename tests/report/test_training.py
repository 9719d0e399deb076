"""Training runs: what is read of their folders, what is refused, and what the page says of them."""

import html
import json
from math import inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest

from tests.report.evaluations import measured, write_folder
from tests.report.pages import words
from tests.report.training_runs import epoch, learning, recipe, start, step, write_run
from tests.training.toys import Watched, toy_images, toy_model, toy_recipe
from vonenet.errors import InputError, VOneNetWarning
from vonenet.report.evaluation import write_evaluation_report
from vonenet.report.training import (
    Curve,
    drawn_runs,
    epoch_figure,
    read_epochs,
    read_runs,
    training_cells,
    training_section,
)
from vonenet.results import EpochRecord
from vonenet.training import train

STORED = Path(__file__).parents[2] / "results" / "training"
HOSTILE = "<script>alert(1)<_script>\"'&$\x1b[31m"
DASH = "\N{EM DASH}"


def render(tmp_path, *folders, base=None):
    """The page, which is checked to be as a page must be, and the terminal's table."""
    table = write_evaluation_report(folders, tmp_path / "page.html", base)
    page = (tmp_path / "page.html").read_text()
    words(page)
    return page, table


def section(*folders):
    return training_section(read_runs(folders), {})


def styles(*folders, models=()):
    return {run.label: style for style, run in drawn_runs(read_runs(folders), dict(models))}


@pytest.fixture
def two(tmp_path):
    base = write_run(tmp_path / "base", learning(3, 0.6), toml=recipe(base=True))
    vone = write_run(tmp_path / "vone", learning(3, 0.5), toml=recipe())
    return base, vone


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
    assert (run.finished, len(run.starts), run.validated) == (True, 2, [])
    assert (run.label, run.planned, run.is_base) == ("toy", 2, False)
    assert run.starts[0]["processes"] == "1"
    assert run.starts[0]["versions"].startswith("vonenet ")
    assert run.starts[0]["command"]


def test_the_stored_runs_are_read_and_make_a_page_that_says_their_numbers(tmp_path):
    runs = read_runs(sorted(STORED.iterdir()))
    for run in runs:
        assert [each.epoch for each in run.epochs] == list(range(1, run.planned + 1))
        assert run.finished
        assert len(run.validated) == run.planned
    page, table = render(tmp_path, *sorted(STORED.iterdir()))
    said = page.replace("<wbr>", "")  # where a long name may break
    assert "cifar10_resnet_small_base: 54.0% validation accuracy after 6 of 6 epochs" in said
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in table.splitlines()[1:]}
    assert len(rows) == len(runs)
    assert rows["cifar10_voneresnet_small"] == "6 of 6 51.0 51.8 epoch 5 1.35 102 19 min"


@pytest.mark.parametrize(
    ("done", "ended", "finished"),
    [(2, "2026-11-24", True), (3, None, True), (2, None, False), (0, None, False)],
)
def test_a_run_is_finished_when_it_says_so_or_all_epochs_are_there(tmp_path, done, ended, finished):
    lines = learning(3, 0.7)[:done]
    (run,) = read_runs([write_run(tmp_path / "a", lines, toml=recipe(base=True), finished=ended)])
    assert run.finished == finished
    assert run.network == "base network of voneresnet18"


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
    assert read_epochs(tmp_path / "log.jsonl") == []
    lines = [step(1), epoch(1, 2.0, 0.25, 0.5, gradient_norm=3.0), {"kind": "note"}, epoch(2, 1.0)]
    first, second = read_epochs(write_log(tmp_path, lines))
    assert first == EpochRecord(1, 2.0, 0.25, 0.1, 500.0, 60.0, 0.5)
    assert (second.epoch, second.loss) == (2, 1.0)


def test_of_an_epoch_told_twice_the_later_line_counts(tmp_path):
    lines = [epoch(1, 5.0), epoch(2, 4.0), epoch(1, 3.0)]
    found = read_epochs(write_log(tmp_path, lines))
    assert [(each.epoch, each.loss) for each in found] == [(1, 3.0), (2, 4.0)]


def test_a_last_line_that_a_kill_cut_is_left_out_with_a_warning(tmp_path):
    path = write_log(tmp_path, [epoch(1)], rest=json.dumps(epoch(2))[:30])
    with pytest.warns(VOneNetWarning, match=r"last line of .*log.jsonl is unfinished"):
        assert [each.epoch for each in read_epochs(path)] == [1]


def test_numbers_that_are_none_are_kept_as_such(tmp_path):
    lines = [epoch(1, nan, nan, nan), epoch(2, inf), epoch(3, validation=None)]
    first, second, third = read_epochs(write_log(tmp_path, lines))
    assert isnan(first.loss)
    assert isnan(first.accuracy)
    assert second.loss == inf
    assert first.validation_accuracy is third.validation_accuracy is None


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
    "interval": (epoch(1, validation_n=9, validation_interval=[0.7, 0.8]), "do not fit 0.6"),
    "no interval": (epoch(1, validation_n=9), "do not fit 0.6"),
    "no n": (epoch(1, validation_interval=[0.5, 0.8]), "validation_n None"),
    "rate": (epoch(1, learning_rate=nan), "learning_rate nan; allowed"),
    "no time": (epoch(1, seconds=inf), "seconds inf; allowed"),
    "time": (epoch(1, seconds=-1), "seconds -1; allowed: 0"),
    "huge": (epoch(1, loss=10**400), "too large"),
}


@pytest.mark.parametrize("name", BROKEN_LINES)
def test_lines_that_are_none_are_refused_in_one_line(tmp_path, name):
    line, words = BROKEN_LINES[name]
    text = line if isinstance(line, str) else json.dumps(line)
    path = write_log(tmp_path, [epoch(1)], rest=text + "\n")
    with pytest.raises(InputError, match=rf"line 2 of .*{words}") as error:
        read_epochs(path)
    assert "\n" not in str(error.value)


def test_curves_are_the_epochs_numbers_with_gaps_where_they_are_not_finite():
    points = [(1, 9.0), (2, 8.0), (3, nan), (4, 7.0), (5, inf)]
    (axes,) = epoch_figure("loss", [Curve(1, points, [(1, 30.0), (4, 15.0)])]).axes
    line, thin = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), points)
    np.testing.assert_array_equal(thin.get_xydata(), [(1, 30), (4, 15)])


def test_a_page_may_be_of_runs_alone_or_of_both(tmp_path, two):
    page, table = render(tmp_path, *two)
    for outside in ("<script", "http:", "https:", "@import", "Robustness", "NeurIPS"):
        assert outside not in page
    assert [line.split()[:4] for line in table.splitlines()[1:]] == [
        ["base", "3", "of", "3"],
        ["vone", "3", "of", "3"],
    ]
    assert render(tmp_path, *two) == (page, table)
    with pytest.raises(InputError, match=r"base 'vone' is an evaluated model's; the folders hold"):
        render(tmp_path, *two, base="vone")
    write_folder(two[1], [measured("vone", 700), measured("b", 600)])  # a folder may hold both
    page, table = render(tmp_path, *two, base="b")
    assert "Robustness of 2 models on photos/val 224px; Training of 2 runs" in page
    assert page.index("How it was measured") > page.index("base: 60.0% validation accuracy after 3")
    assert table.index("points more than b") < table.index("\n\ntraining ")


def test_styles_are_distinct_those_of_the_models_and_the_bases_is_0(two):
    assert styles(*two) == {"base": 0, "vone": 1}
    assert styles(*two, models={"m0": 0, "m1": 1, "vone": 2}) == {"base": 3, "vone": 2}


def test_what_a_run_lacks_is_left_out_or_told(tmp_path):
    (log_alone,) = read_runs([write_run(tmp_path / "run", [epoch(1)], starts=None)])
    assert (log_alone.recipe, log_alone.starts, log_alone.planned) == ({}, [], None)
    assert not log_alone.finished
    unvalidated = section(write_run(tmp_path / "a", [epoch(1, validation=None)]))
    assert [panel.name for panel in unvalidated["panels"]][1] == "Training accuracy"
    assert [value for value, _ in unvalidated["rows"][0][2]][1:3] == [DASH] * 2
    nothing = section(write_run(tmp_path / "c", [epoch(1, nan, nan, None)]))
    assert [panel.name for panel in nothing["panels"]] == ["Learning rate"]
    assert nothing["rows"][0][2][3] == ("not finite", "")
    fresh = write_run(tmp_path / "b", [], toml=recipe(epochs=9), finished=None)
    page, table = render(tmp_path, fresh)
    assert "<svg" not in page
    assert table.splitlines()[1].split() == ["b", "0", "of", "9", *[DASH] * 5]


def test_the_table_says_how_a_run_went(tmp_path):
    lines = [
        epoch(1, validation=0.7, images_per_second=100.0, seconds=3000.0),
        epoch(2, 0.25, validation=0.7, images_per_second=900.0, seconds=900.0),
        epoch(3, 0.25, validation=0.6, images_per_second=300.0, seconds=150.0),
        epoch(4, 0.125, validation=None, images_per_second=200.0, seconds=150.0),
    ]
    starts = [start(1), start(2, gpu="H100", git=None), start(machine=None, versions={})]
    toml = recipe(epochs=4)
    (run,) = read_runs([write_run(tmp_path / "a", lines, toml=toml, starts=starts)])
    assert training_cells(run) == [
        ("4 of 4", "finished, 3 starts"),
        ("60.0", "epoch 3"),
        ("70.0", "epoch 1"),  # the first of equals
        ("0.125", ""),
        ("250", ""),
        ("1 h 10 min", ""),
        ("1, then 2", "x86_64, 2 cores, then H100"),
        ("234ed69, changed", "vonenet 0.1.0, torch 2.15.0"),
    ]


def test_validation_accuracies_have_n_and_intervals(tmp_path):
    known = {"validation_n": 2000, "validation_interval": [0.55, 0.65]}
    folder = write_run(tmp_path / "a", [epoch(1, **known), epoch(2, validation=0.55, **known)])
    (run,) = read_runs([folder])
    assert run.epochs[0].validation_text == "60.0 % (55.0 to 65.0 %, n = 2000)"
    final, best = training_cells(run)[1:3]
    assert final == ("55.0", "[55.0, 65.0], n 2,000")
    assert best == ("60.0", "[55.0, 65.0], epoch 1")
    page, table = render(tmp_path, folder)
    assert "55.0% validation accuracy [55.0, 65.0] of 2,000 images after 2 epochs" in page
    assert "55.0 [55.0, 65.0], n 2,000" in table
    points, band = [(1, 60.0), (2, 55.0)], [[1, 55.0, 65.0], [2, 50.0, 60.0]]
    (axes,) = epoch_figure("accuracy", [Curve(1, points, band=band)]).axes
    (drawn,) = axes.collections
    assert drawn.get_paths()[0].get_extents().bounds == (1, 50, 1, 15)


def test_what_differs_between_recipes_is_told_field_by_field(tmp_path, two):
    toml = recipe(rate=0.2, smoothing=0.1).replace("stride = 2", "stride = 4")
    other = write_run(tmp_path / "c", learning(3, 0.4), toml=toml)
    training = section(*two, other, write_run(tmp_path / "d", [epoch(1)]))
    assert training["compared"] == ["base", "vone", "c"]
    assert training["differences"] == [
        ("model.base", ["true", "false", "false"]),
        ("model.settings.stride", ["2", "2", "4"]),
        ("optimization.learning_rate", ["0.1", "0.1", "0.2"]),
        ("optimization.label_smoothing", ["0", "0", "0.1"]),
    ]
    (caution,) = training["cautions"]
    assert caution.endswith("not of the same task: recipes differ in optimization.label_smoothing.")


def test_other_validation_images_are_told_and_attacks_that_are_none_are_not(tmp_path):
    def cautions(*tomls):
        folders = [write_run(tmp_path / f"{n}", [], toml=toml) for n, toml in enumerate(tomls)]
        return " ".join(section(*folders)["cautions"])

    def attacks(epsilon):
        tables = (f"[adversarial]\nepsilon = {epsilon}\nsteps = {steps}\n" for steps in (3, 5))
        return [recipe() + table for table in tables]

    assert cautions(*attacks(0.0)) == ""
    assert "differ in adversarial.steps." in cautions(*attacks(0.1))
    found = cautions(recipe().replace("image_size", "validation_limit"), recipe())
    assert "same images: recipes differ in data.validation_limit, data.image_size." in found


def test_hostile_words_are_escaped_everywhere(tmp_path):
    quoted = HOSTILE.replace('"', '\\"').replace("\x1b", "\\u001b")
    told = start(commit=HOSTILE, gpu=HOSTILE, command=HOSTILE, versions={"torch": HOSTILE})
    lines = [epoch(1), epoch(2)]
    hostile = write_run(tmp_path / HOSTILE, lines, toml=recipe(quoted), starts=[told])
    page, table = render(tmp_path, hostile, write_run(tmp_path / "b", [epoch(1)], toml=recipe()))
    assert "<script" not in page
    assert html.escape(HOSTILE).split("_")[0].replace("&#x27;", "&#39;") in page
    assert "\x1b" not in table

"""A run that stops anywhere goes on to the bit: after an error, a signal, a kill, a cut file."""

import dataclasses
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toys import (
    CutError,
    Watched,
    fit,
    same_weights,
    toy_images,
    toy_model,
    toy_recipe,
)
from tests.training.under_launcher import vonenet
from vonenet.data import ImageArrays
from vonenet.errors import InputError, Preempted, VOneNetWarning
from vonenet.files import locked_folder
from vonenet.training import TrainingRecipe
from vonenet.training.config import AugmentationRecipe
from vonenet.training.trainer import Trainer

RECIPE = toy_recipe(
    batch_size=20,
    micro_batch_size=10,
    ema_decay=0.9,
    augmentation=AugmentationRecipe(crop="shift", shift_px=1, mixup=0.3),
)


@pytest.fixture(scope="module")
def images():
    return toy_images(100)


def watched(images, after, call):
    """Images that call somebody when so many were asked for."""
    return Watched(images, lambda asked: call() if asked == after else None)


def cut():
    raise CutError


def numbers(log):
    """What does not depend on the clock."""
    timed = ("seconds", "images_per_second")
    return [
        {key: value for key, value in vars(record).items() if key not in timed}
        for record in log.epochs
    ]


def trained(images, out, recipe=RECIPE, **settings):
    model = toy_model()
    validation = settings.pop("validation", toy_images(100))
    return model, fit(model, images, recipe, validation=validation, out=out, **settings)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """The model, the log and the folder of a run that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    return *trained(images, out), out


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole[2], tmp_path / "copied")


def assert_as_whole(images, out, whole):
    """Go on in a folder, to the same bits as the run that nobody stopped."""
    model, log = trained(images, out)
    assert same_weights(model, whole[0])
    assert numbers(log) == numbers(whole[1])
    for name in ("model", "best"):
        one, other = (load_file(run / f"{name}.safetensors") for run in (whole[2], out))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("optimizer", ["adamw", "lookahead_nesterov"])  # the others are of SGD
def test_every_optimizer_goes_on_to_the_bit(images, tmp_path, optimizer):
    settings = dataclasses.replace(RECIPE.optimization, optimizer=optimizer, learning_rate=0.01)
    recipe = dataclasses.replace(RECIPE, optimization=settings)
    expected, log = trained(images, tmp_path / "whole", recipe)
    for asked in (30, 80):  # in epoch 1, over its end
        stopped = watched(images, asked, cut)
        with pytest.raises(CutError):
            trained(stopped, tmp_path / "cut", recipe, checkpoint_minutes=0)
    model, found = trained(images, tmp_path / "cut", recipe)
    assert same_weights(model, expected)
    assert numbers(found) == numbers(log)


def test_trained_gabor_filters_go_on_to_the_bit(images, tmp_path):
    """With the penalty, without which they end elsewhere."""

    def run(folder, weight, data=images):
        optimization = dataclasses.replace(RECIPE.optimization, distribution_penalty=weight)
        recipe = dataclasses.replace(RECIPE, optimization=optimization)
        model = vonenet(front_end="vonenet_trainable").float()
        log = fit(model, data, recipe, out=tmp_path / folder, checkpoint_minutes=0)
        return model, numbers(log)

    expected, log = run("whole", 1.0)
    for asked in (30, 80):
        with pytest.raises(CutError):
            run("cut", 1.0, watched(images, asked, cut))
    model, found = run("cut", 1.0)
    assert same_weights(model, expected)
    assert found == log
    other = run("free", 0.0)[0].model.vone_block.gabor_bank.state_dict()
    for name, value in model.model.vone_block.gabor_bank.named_parameters():
        assert not torch.allclose(other[name], value, atol=1e-4)


def test_the_log_tells_each_epoch_once(images, tmp_path):
    with pytest.raises(CutError):
        trained(watched(images, 150, cut), tmp_path, checkpoint_minutes=0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 999}\n{"kind": "st')
    _, log = trained(images, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("epoch", 5), ("epoch", 10)]
    assert [line["loss"] for line in lines] == [record.loss for record in log.epochs]
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 2


def test_a_finished_run_gives_its_log_and_weights(images, copied, whole):
    (copied / "model.safetensors").unlink()
    model, again = trained(watched(images, 0, cut), copied)  # is not trained again
    assert again == whole[1]
    assert again.already_finished
    assert not whole[1].already_finished
    assert same_weights(model, whole[0])
    stored = load_file(copied / "model.safetensors")
    assert all(torch.equal(stored[key], value) for key, value in model.state_dict().items())
    assert json.loads((copied / "run.json").read_text())["finished"]


def test_the_folder_holds_what_one_needs_to_know(whole):
    out = whole[2]
    names = {path.name for path in out.iterdir()}
    assert names == {
        "recipe.toml", "run.json", "log.jsonl", "last", "previous", "best.safetensors",
        "model.safetensors",
    }  # fmt: skip
    assert TrainingRecipe.read(out / "recipe.toml") == RECIPE
    run = json.loads((out / "run.json").read_text())
    assert run["validation"]["classes"] == "10 classes of 10 outputs, by name"
    (start,) = run["starts"]
    assert start["processes"] == 1
    assert start["versions"]["torch"] == torch.__version__
    assert {"started", "command", "machine", "git"} <= start.keys()


def test_best_is_the_best_validation_and_weights_are_written_as_asked(
    images, tmp_path, monkeypatch
):
    hits = (0, 50, 50, 40)
    monkeypatch.setattr(Trainer, "validate", lambda self, model: hits[self.state.epoch])
    written = []

    def export(model, path):
        path.write_text(f"weights {len(written)}")
        written.append(path.name)

    settings = dataclasses.replace(RECIPE.optimization, epochs=4)
    trained(images, tmp_path, dataclasses.replace(RECIPE, optimization=settings), export=export)
    assert len(written) == 3  # two best ones, then the last
    assert (tmp_path / "best.safetensors").read_text() == "weights 1"
    assert (tmp_path / "model.safetensors").read_text() == "weights 2"


def with_settings(**changes):
    optimization = dataclasses.replace(RECIPE.optimization, **changes)
    return dataclasses.replace(RECIPE, optimization=optimization)


def test_another_recipe_or_other_data_are_refused(images, copied):
    data = dataclasses.replace(RECIPE.data, workers=1)
    trained(images, copied, dataclasses.replace(RECIPE, data=data))
    with pytest.raises(InputError, match=r"optimization.momentum=0.9, not 0.8; allowed: the same"):
        trained(images, copied, with_settings(momentum=0.8))
    with pytest.raises(InputError, match=r"on 100 training images .*, not 50 training images"):
        trained(images.subset(50), copied)
    with pytest.raises(InputError, match=r"on 100 validation images .*, not no validation images"):
        trained(images, copied, validation=None)
    lighter = ImageArrays(images.images // 2, images.labels, images.classes, images.name)
    with pytest.raises(InputError, match=r"on 100 training images .*, not 100 training images"):
        trained(lighter, copied)
    names = [*images.classes[:-1], "Boots"]
    renamed = ImageArrays(images.images, images.labels, names, images.name)
    with pytest.raises(InputError, match=r"on 10 classes, 'Ankle boot', not 10 classes, 'Boots'"):
        trained(renamed, copied, validation=renamed)


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_a_longer_run_goes_on_as_if_it_had_always_been_one(images, tmp_path, schedule):
    settings = {"schedule": schedule, "step_epochs": 2}
    model, log = trained(images, tmp_path / "whole", with_settings(epochs=3, **settings))
    first, _ = trained(images, tmp_path / "run", with_settings(epochs=1, **settings))
    again, found = trained(images, tmp_path / "run", with_settings(epochs=3, **settings))
    assert same_weights(again, model)
    assert not same_weights(first, model)
    assert numbers(found) == numbers(log)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    with pytest.raises(InputError, match=r"optimization.epochs=3, not 2; allowed: the same recipe"):
        trained(images, tmp_path / "run", with_settings(epochs=2, **settings))


def test_a_longer_run_of_another_schedule_is_refused(images, copied):
    """Its first epochs would have been others."""
    with pytest.raises(InputError, match=r"epochs=2, not 3; allowed: more with schedule step or"):
        trained(images, copied, with_settings(epochs=3))


def test_a_folder_of_something_else_is_left_alone(images, copied, tmp_path):
    for name in ("recipe.toml", "log.jsonl", "model.safetensors"):
        folder = tmp_path / f"of {name}"
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(InputError, match=rf"holds {name}, and no checkpoint of an unfinished"):
            trained(images, folder)
        assert (folder / name).read_text() == "mine"
    for name in ("last", "previous"):
        shutil.rmtree(copied / name)  # to save room
    with pytest.raises(InputError, match="no checkpoint of an unfinished run"):
        trained(images, copied)


def test_two_trainings_do_not_share_a_folder(images, tmp_path, monkeypatch):
    impatient = partial(locked_folder, patience_s=0)
    monkeypatch.setattr("vonenet.training.run.locked_folder", impatient)

    def meanwhile():
        with pytest.raises(InputError, match=r"run is in use by process \d+"):
            trained(toy_images(100), tmp_path / "run")

    trained(watched(images, 50, meanwhile), tmp_path / "run")


@pytest.mark.parametrize("flips", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(
    images, tmp_path, whole, flips, monkeypatch
):
    """At random places of every file that a resume may read."""
    stopped = tmp_path / "stopped"
    monkeypatch.setattr("vonenet.training.trainer.LOG_STEPS", 2)
    with pytest.raises(CutError):
        trained(watched(images, 150, cut), stopped, checkpoint_minutes=0)
    files = [path.relative_to(stopped) for path in sorted(stopped.rglob("*.[jpt]*"))]
    assert {path.name for path in files} == {
        "state.pt", "state.json", "log.jsonl", "run.json", "recipe.toml"
    }  # fmt: skip
    source, told = random.Random(3), set()
    for flip in range(flips):
        file, out = files[flip % len(files)], tmp_path / f"flipped {flip}"
        shutil.copytree(stopped, out)
        content = bytearray((out / file).read_bytes())
        content[source.randrange(len(content))] ^= 1 << source.randrange(8)
        (out / file).write_bytes(content)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert_as_whole(images, out, whole)
        told.update((file.name, "\n" in str(each.message)) for each in warned)
        assert TrainingRecipe.read(out / "recipe.toml") == RECIPE
        assert len(json.loads((out / "run.json").read_text())["starts"]) in (1, 2)
        shutil.rmtree(out)
    assert told == {(name, False) for name in ("state.pt", "state.json", "log.jsonl", "run.json")}


def test_junk_in_the_log_is_dropped_and_told(images, tmp_path, whole):
    with pytest.raises(CutError):
        trained(watched(images, 150, cut), tmp_path, checkpoint_minutes=0)
    log = tmp_path / "log.jsonl"
    good = log.read_bytes()
    log.write_bytes(good + b"\xff\x00junk\n[1]\n" + b"{" * 10)
    with pytest.warns(VOneNetWarning, match=r"log.jsonl loses 2 lines that are no log, .*junk"):
        assert_as_whole(images, shutil.copytree(tmp_path, tmp_path / "after"), whole)
    log.write_bytes(b"junk\n" + good)
    with pytest.warns(VOneNetWarning, match=r"damaged-\w+-log.jsonl.*1 lines of epochs are kept"):
        assert_as_whole(images, tmp_path, whole)
    (aside,) = tmp_path.glob("damaged-*-log.jsonl")
    assert aside.read_bytes() == b"junk\n" + good
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("epoch", 5), ("epoch", 10)]
    assert lines[0]["validation_n"] == 100


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"other weights"), Path.unlink])
def test_best_weights_that_were_changed_are_put_aside(images, tmp_path, monkeypatch, harm):
    """Later epochs are worse: that there are no best weights is better than wrong ones."""
    hits = (50, 40, 40, 60)
    monkeypatch.setattr(Trainer, "validate", lambda self, model: hits[self.state.epoch])
    settings = {"schedule": "constant"}
    best = tmp_path / "best.safetensors"
    trained(images, tmp_path, with_settings(epochs=1, **settings))
    harm(best)
    with pytest.warns(VOneNetWarning, match=r"best.safetensors \(.*\): it is not what the check"):
        trained(images, tmp_path, with_settings(epochs=2, **settings))
    assert not best.exists()
    trained(images, tmp_path, with_settings(epochs=4, **settings))  # without a warning
    assert best.read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_file_in_place_of_the_folder(images, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="file.* cannot be written"):
            trained(images, out)


def test_a_full_disk_stops_the_run_and_leaves_a_checkpoint(images, tmp_path, monkeypatch, whole):
    write, left = Path.write_bytes, 9

    def fill_up(path, content):
        nonlocal left
        left -= 1
        if left < 0:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(InputError, match=r"No space left on device; the checkpoint .*last is"):
            trained(images, tmp_path, checkpoint_minutes=0)
    assert_as_whole(images, tmp_path, whole)


def test_a_checkpoint_cut_in_half(images, copied, whole):
    state = copied / "last" / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    with (
        pytest.warns(VOneNetWarning, match=r"best.safetensors .* only a better epoch writes it"),
        pytest.warns(VOneNetWarning, match=r"damaged.*goes on from .*previous"),
    ):
        assert_as_whole(images, copied, whole)


def sending(number):
    return partial(os.kill, os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGTERM, Preempted, "at step 4 of epoch 1 and saved in .*the same command"),
        (signal.SIGINT, KeyboardInterrupt, "at step 4 of epoch 1 and saved in .*the same command"),
    ],
)
def test_a_signal_finishes_the_step_and_saves(images, tmp_path, number, error, message, whole):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(error, match=message):
        trained(watched(images, 65, sending(number)), tmp_path)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    state = json.loads((tmp_path / "last" / "state.json").read_text())["state"]
    assert (state["epoch"], state["step"]) == (0, 4)
    assert_as_whole(images, tmp_path, whole)


def test_a_signal_during_validation(images, tmp_path, whole):
    """The epoch's steps are kept, its validation is made up for; the average is taken out again."""
    stopping = watched(toy_images(100), 50, sending(signal.SIGTERM))
    with pytest.raises(Preempted, match="step 5 of epoch 1"):
        trained(images, tmp_path, validation=stopping)
    assert_as_whole(images, tmp_path, whole)


def test_without_a_folder_signals_are_left_alone(images):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(toy_model(), watched(images, 65, sending(signal.SIGINT)), RECIPE)
    finally:
        signal.signal(signal.SIGINT, before)


KILLS = 20
KILL_RECIPE = toy_recipe(batch_size=10, epochs=6, ema_decay=0.9)
fetched: Any = None  # shared with the parent


def count(asked):
    with fetched:
        fetched.value += 1


def train_counted(out, counter):
    """In a process of its own: trains, and counts the images that were asked for."""
    global fetched
    fetched = counter
    images = toy_images()
    fit(
        toy_model(),
        Watched(images, count),
        KILL_RECIPE,
        validation=images,
        out=out,
        checkpoint_minutes=0.0002,
    )


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path):
    """kill -9 at random progress, in steps, checkpoints and validations alike."""
    spawner = multiprocessing.get_context("forkserver")
    spawner.set_forkserver_preload(["tests.training.test_resume"])
    random_source = random.Random(7)
    # a life ends after so many more images: together 0.8 of the run, and none gets further
    shares = [random_source.random() for _ in range(KILLS)]
    lives = [round(0.8 * 6 * 200 * share / sum(shares)) for share in shares]
    for life in lives:
        counter = spawner.Value("q", 0)
        process = spawner.Process(target=train_counted, args=(tmp_path / "killed", counter))
        process.start()
        while counter.value < life and process.is_alive():
            time.sleep(0.0002)
        assert process.is_alive(), "the run ended before it was killed"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    for name in ("killed", "whole"):
        counter = spawner.Value("q", 0)
        process = spawner.Process(target=train_counted, args=(tmp_path / name, counter))
        process.start()
        process.join()
        assert process.exitcode == 0
    starts = json.loads((tmp_path / "killed" / "run.json").read_text())["starts"]
    assert len(starts) >= KILLS - 3  # some die before they have begun
    for name in ("model.safetensors", "best.safetensors"):
        one, other = (load_file(tmp_path / run / name) for run in ("killed", "whole"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    for line, expected in zip(
        *((tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("killed", "whole")),
        strict=True,
    ):
        keys = ("kind", "step", "epoch", "loss", "accuracy", "validation_accuracy")
        one, other = json.loads(line), json.loads(expected)
        assert [one.get(key) for key in keys] == [other.get(key) for key in keys]

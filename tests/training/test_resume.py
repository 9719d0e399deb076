"""A run that stops anywhere goes on to the bit: after an error, a signal, a kill, a cut file."""

import dataclasses
import errno
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training.toys import (
    Watched,
    fit,
    same_weights,
    toy_images,
    toy_model,
    toy_recipe,
    weights,
)
from vonenet.data import ImageArrays
from vonenet.errors import InputError, Preempted, VOneNetWarning
from vonenet.training import TrainingLog
from vonenet.training.config import AugmentationRecipe
from vonenet.training.trainer import Trainer

RECIPE = toy_recipe(
    batch_size=20,
    micro_batch_size=10,
    ema_decay=0.9,
    augmentation=AugmentationRecipe(crop="shift", shift_px=1, mixup=0.3),
)
STEPS = 10  # of an epoch


class CutError(Exception):
    """The end of a run in the middle."""


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    return toy_images()


def stopping(images: ImageArrays, after: int) -> Watched:
    """Images that stop the run when so many were asked for."""

    def stop(asked: int) -> None:
        if asked == after:
            raise CutError

    return Watched(images, stop)


def numbers(log: TrainingLog) -> list[dict[str, Any]]:
    """What does not depend on the clock."""
    timed = ("seconds", "images_per_second")
    return [
        {key: value for key, value in vars(record).items() if key not in timed}
        for record in log.epochs
    ]


def uninterrupted(images: ImageArrays, out: Path, recipe=RECIPE) -> tuple[Any, TrainingLog]:
    model = toy_model()
    log = fit(model, images, recipe, validation=images, out=out)
    return model, log


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "nadamw", "lookahead_nesterov"])
def test_every_optimizer_goes_on_to_the_bit(
    images: ImageArrays, tmp_path: Path, optimizer: str
) -> None:
    settings = dataclasses.replace(RECIPE.optimization, optimizer=optimizer, learning_rate=0.01)
    recipe = dataclasses.replace(RECIPE, optimization=settings)
    expected, log = uninterrupted(images, tmp_path / "whole", recipe)
    for asked in (70, 130, 30):  # in epoch 1, over its end, in epoch 2
        with pytest.raises(CutError):
            fit(
                toy_model(),
                stopping(images, asked),
                recipe,
                validation=images,
                out=tmp_path / "cut",
                checkpoint_minutes=0,
            )
    model = toy_model()
    found = fit(model, images, recipe, validation=images, out=tmp_path / "cut")
    assert same_weights(model, expected)
    assert numbers(found) == numbers(log)
    for name in ("model", "best"):
        one, other = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_log_tells_each_epoch_once(images: ImageArrays, tmp_path: Path) -> None:
    with pytest.raises(CutError):
        fit(toy_model(), stopping(images, 310), RECIPE, out=tmp_path, checkpoint_minutes=0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "step": 999}\n{"kind": "st')
    log = fit(toy_model(), images, RECIPE, out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("epoch", STEPS),
        ("epoch", 2 * STEPS),
    ]
    assert [line["loss"] for line in lines] == [record.loss for record in log.epochs]
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 2


def test_a_finished_run_gives_its_log_and_weights(images: ImageArrays, tmp_path: Path) -> None:
    expected, log = uninterrupted(images, tmp_path)
    (tmp_path / "model.safetensors").unlink()

    def fail(asked: int) -> None:
        raise AssertionError("trained again")

    model = toy_model()
    again = fit(model, Watched(images, fail), RECIPE, validation=images, out=tmp_path)
    assert again == log
    assert same_weights(model, expected)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[key], value) for key, value in model.state_dict().items())
    assert json.loads((tmp_path / "run.json").read_text())["finished"]


def test_the_folder_holds_what_one_needs_to_know(images: ImageArrays, tmp_path: Path) -> None:
    uninterrupted(images, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "recipe.toml", "run.json", "log.jsonl", "last", "previous", "best.safetensors",
        "model.safetensors",
    }  # fmt: skip
    assert type(RECIPE).read(tmp_path / "recipe.toml") == RECIPE
    (start,) = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert start["processes"] == 1
    assert start["versions"]["torch"] == torch.__version__
    assert {"started", "command", "machine", "git"} <= start.keys()


def test_best_is_the_best_validation(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def validate(trainer: Trainer, model: nn.Module) -> float:
        measured.append(weights(model))
        return (0.2, 0.5, 0.5, 0.4)[trainer.state.epoch]

    monkeypatch.setattr(Trainer, "validate", validate)
    settings = dataclasses.replace(RECIPE.optimization, epochs=4)
    uninterrupted(images, tmp_path, dataclasses.replace(RECIPE, optimization=settings))
    best = load_file(tmp_path / "best.safetensors")
    assert [all(torch.equal(best[key], each[key]) for key in best) for each in measured] == [
        False,
        True,
        False,
        False,
    ]


def test_weights_are_written_as_asked(images: ImageArrays, tmp_path: Path) -> None:
    written = []

    def export(model: nn.Module, path: Path) -> None:
        path.write_text("weights")
        written.append(path.parent)

    fit(toy_model(), images, RECIPE, validation=images, out=tmp_path, export=export)
    assert len(written) >= 2
    assert (tmp_path / "model.safetensors").read_text() == "weights"
    assert (tmp_path / "best.safetensors").read_text() == "weights"


# --- refusals ------------------------------------------------------------------------------------


def test_another_recipe_or_other_data_are_refused(images: ImageArrays, tmp_path: Path) -> None:
    uninterrupted(images, tmp_path)

    def again(recipe=RECIPE, data=images) -> None:
        fit(toy_model(), data, recipe, out=tmp_path)

    again(dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, workers=1)))
    other = dataclasses.replace(RECIPE.optimization, momentum=0.8)
    with pytest.raises(InputError, match=r"optimization.momentum=0.9, not 0.8; allowed: the same"):
        again(dataclasses.replace(RECIPE, optimization=other))
    with pytest.raises(InputError, match="a run on 200 images, not 100"):
        again(data=images.subset(100))


def test_a_file_in_place_of_the_folder(images: ImageArrays, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="file.* cannot be written"):
            fit(toy_model(), images, RECIPE, out=out)


def test_a_full_disk_stops_the_run_and_leaves_a_checkpoint(
    images: ImageArrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = uninterrupted(images, tmp_path / "whole")
    write, left = Path.write_bytes, 9

    def fill_up(path: Path, content: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fill_up)
        with pytest.raises(InputError, match=r"No space left on device; the checkpoint .*last is"):
            fit(
                toy_model(),
                images,
                RECIPE,
                validation=images,
                out=tmp_path / "full",
                checkpoint_minutes=0,
            )
    model = toy_model()
    fit(model, images, RECIPE, validation=images, out=tmp_path / "full")
    assert same_weights(model, expected)


def test_a_checkpoint_cut_in_half(images: ImageArrays, tmp_path: Path) -> None:
    expected, log = uninterrupted(images, tmp_path)
    state = tmp_path / "last" / "state.pt"
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    model = toy_model()
    with pytest.warns(VOneNetWarning, match=r"damaged.*goes on from .*previous"):
        found = fit(model, images, RECIPE, validation=images, out=tmp_path)
    assert same_weights(model, expected)
    assert numbers(found) == numbers(log)


# --- signals -------------------------------------------------------------------------------------


def signalling(images: ImageArrays, number: int, after: int) -> Watched:
    def send(asked: int) -> None:
        if asked == after:
            os.kill(os.getpid(), number)

    return Watched(images, send)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (signal.SIGTERM, Preempted, "at step 4 of epoch 1 and saved in .*the same command"),
        (signal.SIGINT, KeyboardInterrupt, None),
    ],
)
def test_a_signal_finishes_the_step_and_saves(
    images: ImageArrays,
    tmp_path: Path,
    number: int,
    error: type[BaseException],
    message: str | None,
) -> None:
    expected, _ = uninterrupted(images, tmp_path / "whole")
    before = handlers()
    with pytest.raises(error, match=message):
        fit(
            toy_model(),
            signalling(images, number, 65),
            RECIPE,
            validation=images,
            out=tmp_path / "cut",
        )
    assert handlers() == before
    state = json.loads((tmp_path / "cut" / "last" / "state.json").read_text())["state"]
    assert (state["epoch"], state["step"]) == (0, 4)
    model = toy_model()
    fit(model, images, RECIPE, validation=images, out=tmp_path / "cut")
    assert same_weights(model, expected)


def test_a_signal_during_validation(images: ImageArrays, tmp_path: Path) -> None:
    """The epoch's steps are kept, its validation is made up for; the average is taken out again."""
    expected, log = uninterrupted(images, tmp_path / "whole")
    with pytest.raises(Preempted, match="step 10 of epoch 1"):
        fit(
            toy_model(),
            images,
            RECIPE,
            validation=signalling(images, signal.SIGTERM, 100),
            out=tmp_path / "cut",
        )
    model = toy_model()
    found = fit(model, images, RECIPE, validation=images, out=tmp_path / "cut")
    assert same_weights(model, expected)
    assert numbers(found) == numbers(log)


def test_without_a_folder_signals_are_left_alone(images: ImageArrays) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(toy_model(), signalling(images, signal.SIGINT, 65), RECIPE)
    finally:
        signal.signal(signal.SIGINT, before)


# --- kill -9 -------------------------------------------------------------------------------------

KILLS = 20
KILL_RECIPE = toy_recipe(batch_size=10, epochs=6, ema_decay=0.9)
fetched: Any = None  # shared with the parent


def count(asked: int) -> None:
    with fetched:
        fetched.value += 1


def train_counted(out: Path, counter: Any) -> None:
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
def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
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

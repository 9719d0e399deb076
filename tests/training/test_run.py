"""Lines for every epoch and some steps, and trackers where they were asked for."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.toys import CutError, Watched, toy_images, toy_model, toy_recipe
from vonenet.training import train
from vonenet.training.optim import learning_rate_at


def test_lines_of_epochs_and_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("vonenet.training.trainer.LOG_STEPS", 4)
    images, recipe = toy_images(), toy_recipe(clip_norm=0.5)
    log = train(toy_model(), images, recipe, out=tmp_path / "new" / "run", progress=False)
    text = (tmp_path / "new" / "run" / "log.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("step", 4), ("epoch", 6), ("step", 8), ("step", 12), ("epoch", 12),
    ]  # fmt: skip
    epochs = [line for line in lines if line["kind"] == "epoch"]
    for line, record in zip(epochs, log.epochs, strict=True):
        assert line["loss"] == record.loss
        assert "validation_accuracy" not in line
    for line in lines:
        if line["kind"] == "step":
            rate = learning_rate_at(recipe.optimization, (line["step"] - 0.5) / 6)
            assert line["learning_rate"] == pytest.approx(rate)
            assert line["images_per_second"] > 0
            assert line["gradient_norm"] > 0


def cut_and_go_on(out, tracker):
    """A run that is cut off in its second epoch and goes on from the first one's end; its log."""

    def cut(asked):
        if asked == 192 + 100:
            raise CutError

    settings: dict[str, Any] = {"out": out, "trackers": [tracker], "progress": False}
    with pytest.raises(CutError):
        train(toy_model(), Watched(toy_images(), cut), toy_recipe(), **settings)
    train(toy_model(), toy_images(), toy_recipe(), **settings)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path, monkeypatch):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr("vonenet.training.trainer.LOG_STEPS", 1)
    lines = cut_and_go_on(tmp_path, "tensorboard")
    events = reader.EventAccumulator(str(tmp_path / "vonenet")).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("step/loss")]
    logged = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step"]
    assert [step for step, _ in shown] == list(range(1, 13))
    assert [event.step for event in events.Scalars("epoch/accuracy")] == [6, 12]
    assert shown == [(step, pytest.approx(loss)) for step, loss in logged]


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    """A stand-in notes what the package would be told."""
    begun: list[dict[str, Any]] = []
    told: list[tuple[dict[str, Any], int]] = []
    finished: list[bool] = []
    run = SimpleNamespace(
        log=lambda values, step: told.append((values, step)), finish=lambda: finished.append(True)
    )
    package = SimpleNamespace(init=lambda **settings: begun.append(settings) or run)
    monkeypatch.setitem(sys.modules, "wandb", package)
    lines = cut_and_go_on(tmp_path / "night", "wandb")
    day = {"out": tmp_path / "day", "trackers": ["wandb"], "progress": False}
    train(toy_model(), toy_images(), toy_recipe(epochs=1), **day)
    first, second, other = begun
    assert first == second
    assert (first["project"], first["name"], first["resume"]) == ("vonenet", "night", "allow")
    assert first["dir"] == str(tmp_path / "night")
    assert first["id"] != other["id"]
    assert finished == [True] * 3
    config = first["config"]
    assert (config["optimization"]["epochs"], config["data"]["image_size"]) == (2, 28)
    steps = [step for _, step in told]
    assert steps[:2] == [line["step"] for line in lines] == [6, 12]
    assert told[1][0]["epoch/loss"] == lines[1]["loss"]

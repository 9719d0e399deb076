"""Lines for every epoch and some steps, and trackers where they were asked for."""

import json
from pathlib import Path

import pytest

from tests.training.toys import toy_images, toy_model, toy_recipe
from vonenet.training import train
from vonenet.training.schedule import learning_rate_at


def test_lines_of_epochs_and_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vonenet.training.loop.LOG_STEPS", 4)
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # tensorboard's own
def test_tensorboard(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    images = toy_images()
    log = train(
        toy_model(), images, toy_recipe(), out=tmp_path, trackers=["tensorboard"], progress=False
    )
    events = reader.EventAccumulator(str(tmp_path / "vonenet")).Reload()
    losses = [event.value for event in events.Scalars("epoch/loss")]
    assert losses == pytest.approx([record.loss for record in log.epochs])
    assert [event.step for event in events.Scalars("epoch/loss")] == [6, 12]

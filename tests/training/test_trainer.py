"""train: learns, repeats to the bit, touches only what it should, and stops on nonsense."""

import copy
import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vonenet.data import ImageArrays, PixelModel, load_embedded
from vonenet.errors import InputError, VOneNetError
from vonenet.training import TrainingRecipe, train

RECIPE = TrainingRecipe(
    epochs=2, batch_size=32, learning_rate=0.05, schedule="cosine", shift_px=1, seed=5
)


@pytest.fixture(scope="module")
def images() -> ImageArrays:
    return load_embedded("train", image_size=28, in_chans=1).subset(200)


def small_model() -> PixelModel:
    """A frozen first stage, then dropout and a trained readout."""
    torch.manual_seed(0)
    filters = nn.Conv2d(1, 8, 5, stride=3).requires_grad_(False)
    readout = nn.Linear(8 * 8 * 8, 10)
    layers = [filters, nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.Flatten(), readout]
    return PixelModel(nn.Sequential(*layers), 0.5, 0.5)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_learns(images: ImageArrays) -> None:
    validation = load_embedded("test", image_size=28, in_chans=1).subset(200)
    recipe = TrainingRecipe(epochs=5, batch_size=20, learning_rate=0.05, schedule="onecycle")
    log = train(small_model(), images, recipe, validation=validation, progress=False)
    first, *_, last = log.epochs
    assert last.loss < first.loss / 2
    assert last.accuracy > first.accuracy
    assert last.validation_accuracy is not None
    assert last.validation_accuracy > 0.6
    assert [record.epoch for record in log.epochs] == [1, 2, 3, 4, 5]
    assert all(record.images_per_second > 0 for record in log.epochs)


def test_validation_accuracy_is_that_of_the_trained_model(images: ImageArrays) -> None:
    model = small_model()
    log = train(model, images, RECIPE, validation=images, progress=False)
    assert not any(module.training for module in model.modules())
    hits = model(images.images.float() / 255).argmax(dim=1) == images.labels
    assert log.epochs[-1].validation_accuracy == pytest.approx(float(hits.float().mean()))


def test_repeats_to_the_bit_and_leaves_no_trace(images: ImageArrays) -> None:
    """Order, augmentation and dropout depend on the recipe's seed, not on the caller's state."""
    one, two, other = small_model(), small_model(), small_model()
    state = torch.get_rng_state()
    train(one, images, RECIPE, progress=False)
    assert not one.training
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    train(two, images, RECIPE, validation=images, progress=False)
    assert same_weights(one, two)
    train(other, images, TrainingRecipe(**(asdict(RECIPE) | {"seed": 6})), progress=False)
    assert not same_weights(one, other)


def test_frozen_parameters_stay(images: ImageArrays) -> None:
    model = small_model()
    before = copy.deepcopy(model.model[0])
    train(model, images, RECIPE, progress=False)
    assert same_weights(before, model.model[0])
    assert model.model[0].weight.grad is None


class Recorder(nn.Module):
    """A model that remembers the pixels it saw in training."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels.flatten(1)[:, 0].detach())
        return self.scale * pixels.flatten(1)[:, :2]


@pytest.mark.parametrize(
    ("count", "batch_size", "batches"), [(12, 4, [4, 4, 4]), (14, 4, [4, 4, 4]), (3, 4, [3])]
)
def test_an_epoch_sees_each_image_once(count: int, batch_size: int, batches: list[int]) -> None:
    pixels = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 1, 2) / count
    data = ImageArrays(pixels, torch.zeros(count), ("a", "b"), "ramp")
    model = Recorder()
    recipe = TrainingRecipe(epochs=2, batch_size=batch_size, horizontal_flip=False)
    train(model, data, recipe, progress=False)
    assert [len(batch) for batch in model.seen] == batches * 2
    epochs = torch.cat(model.seen).chunk(2)
    assert all(len(epoch.unique()) == sum(batches) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_shifts_reach_the_model() -> None:
    data = ImageArrays(torch.ones(16, 1, 2, 2), torch.zeros(16), ("a", "b"), "white")
    model = Recorder()
    recipe = TrainingRecipe(epochs=1, batch_size=16, horizontal_flip=False, shift_px=1)
    train(model, data, recipe, progress=False)
    assert set(model.seen[0].tolist()) == {0.0, 1.0}


def test_steps_are_sgd_at_the_schedules_rate() -> None:
    """Two steps on one image by hand: momentum, weight decay, smoothing, rates at mid-step."""
    data = ImageArrays(torch.full((1, 1, 1, 2), 0.5), torch.tensor([1]), ("a", "b"), "one")
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    weight = model[1].weight.detach().clone().double()  # type: ignore[union-attr, operator]
    recipe = TrainingRecipe(
        epochs=2,
        batch_size=1,
        learning_rate=0.2,
        momentum=0.7,
        weight_decay=0.3,
        schedule="cosine",
        label_smoothing=0.1,
        horizontal_flip=False,
    )
    train(model, data, recipe, progress=False)
    pixels = torch.full((2,), 0.5, dtype=torch.float64)
    targets = torch.tensor([0.05, 0.95], dtype=torch.float64)
    velocity = torch.zeros(2, 2, dtype=torch.float64)
    for share in (0.25, 0.75):  # of the run, at the middle of each step
        error = (weight @ pixels).softmax(0) - targets
        velocity = 0.7 * velocity + torch.outer(error, pixels) + 0.3 * weight
        weight = weight - 0.1 * (1 + math.cos(math.pi * share)) * velocity
    torch.testing.assert_close(model[1].weight.double(), weight)


def test_log_file_has_a_line_per_epoch(images: ImageArrays, tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    for _ in range(2):  # the second run replaces the first
        log = train(small_model(), images, RECIPE, progress=False, log_path=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [asdict(record) for record in log.epochs]
    assert lines[0]["learning_rate"] > lines[1]["learning_rate"]


def test_loss_that_is_not_finite_stops_before_the_step(images: ImageArrays) -> None:
    model = small_model()
    with torch.no_grad():
        model.model[5].bias[0] = float("inf")
    before = model.model[5].weight.detach().clone()
    with pytest.raises(VOneNetError, match=r"nan after 0\.08 epochs; a learning_rate"):
        train(model, images, RECIPE, progress=False)
    assert torch.equal(model.model[5].weight, before)


def test_nothing_to_train_is_refused(images: ImageArrays) -> None:
    with pytest.raises(InputError, match="no parameter"):
        train(small_model().requires_grad_(False), images, RECIPE, progress=False)


def test_progress_bar(images: ImageArrays, capsys: pytest.CaptureFixture[str]) -> None:
    train(small_model(), images, RECIPE, label="base")
    shown = capsys.readouterr()
    assert "base, epoch 2/2: 100%" in shown.err
    assert "384/384" in shown.err
    assert "loss=" in shown.err
    assert shown.out == ""
    train(small_model(), images, RECIPE, progress=False)
    assert capsys.readouterr().err == ""

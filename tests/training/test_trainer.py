"""train: learns, repeats to the bit, takes the steps that the recipe says, stops on nonsense."""

import copy
import dataclasses
import math
import multiprocessing
import signal
import sys

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import (
    PLAIN,
    PX,
    CutError,
    fit,
    same_weights,
    toy_images,
    toy_model,
    toy_recipe,
    weights,
)
from vonenet.data import ImageArrays, PixelModel, load_embedded
from vonenet.errors import InputError, VOneNetError
from vonenet.results import wilson_interval
from vonenet.training import train
from vonenet.training.config import AdversarialRecipe, AugmentationRecipe
from vonenet.training.distributed import process_group
from vonenet.training.run import RunFolder
from vonenet.training.trainer import Trainer
from vonenet.v1.noise import Noise


@pytest.fixture(scope="module")
def images():
    return toy_images()


def test_learns(images):
    recipe = toy_recipe(epochs=5, batch_size=20, schedule="onecycle")
    validation = toy_images(200, "test")
    log = fit(toy_model(), images, recipe, validation=validation)
    first, *_, last = log.epochs
    assert last.loss < first.loss / 2
    assert last.accuracy > first.accuracy
    assert last.validation_accuracy is not None
    assert last.validation_accuracy > 0.6
    assert [record.epoch for record in log.epochs] == [1, 2, 3, 4, 5]
    assert all(0 <= record.accuracy <= 1 for record in log.epochs)
    assert all(record.images_per_second > 0 for record in log.epochs)


@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_validation_accuracy_is_that_of_the_trained_model(images, ema_decay):
    model = toy_model()
    recipe = toy_recipe(epochs=1, ema_decay=ema_decay)
    log = fit(model, images, recipe, validation=images)
    assert not any(module.training for module in model.modules())
    hits = model(images.images.float() / 255).argmax(dim=1) == images.labels
    assert log.epochs[-1].validation_accuracy == pytest.approx(float(hits.float().mean()))


def test_repeats_to_the_bit_and_leaves_no_trace(images):
    """Order, augmentation and dropout depend on the recipe's seed, not on the caller's state."""
    one, two, other = toy_model(), toy_model(), toy_model()
    state = torch.get_rng_state()
    fit(one, images, toy_recipe(epochs=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    fit(two, images, toy_recipe(epochs=1), validation=images)
    assert same_weights(one, two)
    fit(other, images, toy_recipe(epochs=1, seed=6))
    assert not same_weights(one, other)


def test_workers_change_nothing(images):
    models = [toy_model(), toy_model()]
    drawn = AugmentationRecipe(rand_augment="rand-m9-n2-mstd0.5", color_jitter=0.4, mixup=0.2)
    for model, workers in zip(models, (0, 2), strict=True):
        recipe = toy_recipe(workers=workers, epochs=1, augmentation=drawn)
        fit(model, images, recipe, validation=images)
    assert same_weights(*models)


def test_a_bar_on_terminals_a_line_for_each_epoch_and_nothing_if_quiet(images, capsys, monkeypatch):
    validation = toy_images(100, "test")
    log = train(toy_model(), images, toy_recipe(), validation=validation, label="base")
    told = capsys.readouterr()
    assert told.out == ""
    matched = "base, validation on embedded/test 28px: 10 classes of 10 outputs, by name"
    assert told.err.splitlines() == [
        matched,
        *(
            f"base, epoch {each.epoch}/2: loss {each.loss:.3f}, validation accuracy "
            f"{each.validation_text}"
            for each in log.epochs
        ),
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(toy_model(), images, toy_recipe(), label="base")
    shown = capsys.readouterr()
    assert "base, epoch 2/2: 100%" in shown.err
    assert "384/384" in shown.err
    assert "loss=" in shown.err
    assert shown.out == ""
    fit(toy_model(), images, toy_recipe(epochs=1))
    assert capsys.readouterr().err == ""


def test_a_stopped_run_ends_its_workers_though_its_exception_is_kept(images, tmp_path):
    """They ignore the signal by which Python ends its children, and it would wait for them."""

    def stop(model, path):
        assert len(multiprocessing.active_children()) == 2  # of training and validation images
        raise CutError

    with pytest.raises(CutError) as kept:
        fit(
            toy_model(),
            images,
            toy_recipe(workers=1),
            validation=toy_images(100),
            out=tmp_path,
            export=stop,
        )
    assert kept.traceback
    assert not multiprocessing.active_children()


def test_validation_is_counted_and_has_an_interval(images):
    log = fit(toy_model(), images, toy_recipe(epochs=1), validation=toy_images(100, "test"))
    (record,) = log.epochs
    assert record.validation_n == 100
    hits = round(100 * record.validation_accuracy)
    assert record.validation_interval == wilson_interval(hits, 100)


def of_classes(images, classes):
    """The same images with classes that stand in another order or are fewer."""
    kept = torch.tensor([images.classes[label] in classes for label in images.labels])
    labels = [classes.index(images.classes[label]) for label in images.labels[kept]]
    return ImageArrays(images.images[kept], torch.tensor(labels), classes, "some")


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(7, 2, -2)])
def test_validation_matches_classes_by_name(images, order):
    """The same decisions are right, whatever number a class has in the validation images."""
    shown = toy_images(100, "test")
    some = of_classes(shown, shown.classes[order])
    alike = shown.select(torch.isin(shown.labels, torch.arange(10)[list(range(10)[order])]))
    recipe = toy_recipe(epochs=2, batch_size=20, schedule="constant")
    found, expected = (
        fit(toy_model(), images, recipe, validation=each).epochs[-1] for each in (some, alike)
    )
    assert found.validation_n == len(some) == len(alike)
    assert found.validation_accuracy == expected.validation_accuracy > 0.3


def test_classes_and_outputs_that_do_not_fit_are_refused(images):
    renamed = ImageArrays(images.images, images.labels, [f"{n} new" for n in range(10)], "new")
    with pytest.raises(InputError, match=r"10 are not among them, the first is '0 new'"):
        fit(toy_model(), images, toy_recipe(), validation=renamed)
    for count in (9, 11):
        model = nn.Sequential(nn.Flatten(), nn.Linear(PX * PX, count))
        with pytest.raises(InputError, match=rf"gives \({count},\) outputs .* needed: 10, one for"):
            fit(model, images, toy_recipe())


def test_a_model_that_names_its_outputs_is_trained_on_those_of_that_name(images):
    """Of 11 outputs, of which the images have 10 classes in another order."""
    names = ("none", *reversed(images.classes))
    model = PixelModel(nn.Sequential(nn.Flatten(), nn.Linear(PX * PX, 11)), 0.5, 0.5, classes=names)
    mixed = AugmentationRecipe(crop="centre", mixup=0.1)
    recipe = toy_recipe(epochs=3, augmentation=mixed, schedule="constant")
    log = fit(model, images, recipe, validation=toy_images(100, "test"))
    assert log.epochs[-1].validation_accuracy > 0.5
    with torch.no_grad():
        decisions = model(images.images.float() / 255).argmax(dim=1)
    assert float((decisions == 10 - images.labels).float().mean()) > 0.6


class Recorder(nn.Module):
    """A model that remembers the pixels it saw in training."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, pixels):
        self.seen.append(pixels.detach().clone())
        return self.scale * pixels.flatten(1)[:, :2]


@pytest.mark.parametrize(
    ("count", "batch_size", "micro", "batches"),
    [(12, 4, None, [4, 4, 4]), (14, 4, None, [4, 4, 4]), (3, 4, None, [3]), (14, 4, 2, [2] * 6)],
)
def test_an_epoch_sees_each_image_once(count, batch_size, micro, batches):
    pixels = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2) / count
    data = ImageArrays(pixels, torch.zeros(count), ("a", "b"), "ramp")
    model = Recorder()
    recipe = toy_recipe(
        image_size=2, batch_size=batch_size, micro_batch_size=micro, augmentation=PLAIN
    )
    fit(model, data, recipe)
    assert [len(batch) for batch in model.seen] == batches * 2
    epochs = torch.cat(model.seen)[:, 0, 0, 0].chunk(2)
    assert all(len(epoch.unique()) == sum(batches) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_augmentation_mixing_and_attack_reach_the_model():
    data = ImageArrays(torch.full((16, 1, 4, 4), 0.5), torch.zeros(16), ("a", "b"), "grey")
    black = AugmentationRecipe(crop="shift", shift_px=1, horizontal_flip=False)
    for change, found in (
        ({"augmentation": black}, lambda x: set(x.unique().tolist()) == {0.0, 0.5}),
        ({"augmentation": dataclasses.replace(black, mixup=1.0)}, lambda x: len(x.unique()) > 2),
        (
            {"augmentation": PLAIN, "adversarial": AdversarialRecipe(epsilon=0.25)},
            lambda x: float((x - 0.5).abs().max()) == 0.25,
        ),
    ):
        model = Recorder()
        recipe = toy_recipe(image_size=4, epochs=1, batch_size=16, **change)
        fit(model, data, recipe)
        assert found(model.seen[-1]), change


def test_noise_differs_between_micro_batches_and_steps():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.noise = Noise("gaussian", 1.0, 0.0)
            self.readout = nn.Linear(4, 2)
            self.drawn: list[Tensor] = []

        def forward(self, pixels):
            noisy = self.noise(pixels.flatten(1) + 100)  # far from rectification
            self.drawn.append(noisy.detach())
            return self.readout(noisy)

    data = ImageArrays(torch.zeros(4, 1, 2, 2), torch.zeros(4), ("a", "b"), "black")
    model = Noisy()
    recipe = toy_recipe(image_size=2, batch_size=2, micro_batch_size=1, augmentation=PLAIN)
    fit(model, data, recipe)
    assert len(torch.cat(model.drawn).unique()) == 8 * 4


def one_image():
    return ImageArrays(torch.full((1, 1, 2, 1), 0.5), torch.tensor([1]), ("a", "b"), "one")


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))


@pytest.mark.parametrize(("optimizer", "nesterov"), [("sgd", False), ("nesterov", True)])
@pytest.mark.parametrize(("clip_norm", "ema_decay"), [(None, None), (0.1, 0.6)])
def test_steps_by_hand(optimizer, nesterov, clip_norm, ema_decay):
    """Momentum, weight decay, smoothing, clipping, average, rates at mid-step, in float64."""
    model = linear()
    weight = model[1].weight.detach().clone().double()
    recipe = toy_recipe(
        image_size=2,
        batch_size=1,
        epochs=4,
        learning_rate=0.2,
        optimizer=optimizer,
        momentum=0.7,
        weight_decay=0.3,
        label_smoothing=0.1,
        clip_norm=clip_norm,
        ema_decay=ema_decay,
        augmentation=PLAIN,
    )
    fit(model, one_image(), recipe)
    pixels = torch.full((2,), 0.5, dtype=torch.float64)
    targets = torch.tensor([0.05, 0.95], dtype=torch.float64)
    velocity = torch.zeros(2, 2, dtype=torch.float64)
    average = weight.clone()
    for share in (0.125, 0.375, 0.625, 0.875):  # of the run, at the middle of each step
        gradient = torch.outer((weight @ pixels).softmax(0) - targets, pixels)
        if clip_norm is not None:
            gradient *= min(1.0, clip_norm / float(gradient.norm()))
        gradient = gradient + 0.3 * weight
        velocity = 0.7 * velocity + gradient
        step = gradient + 0.7 * velocity if nesterov else velocity
        weight = weight - 0.1 * (1 + math.cos(math.pi * share)) * step
        if ema_decay is not None:
            average = ema_decay * average + (1 - ema_decay) * weight
    expected = weight if ema_decay is None else average
    torch.testing.assert_close(model[1].weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_micro_batches_give_the_gradient_of_the_whole():
    """Without batch norm, noise or dropout a cut changes nothing."""
    models = [linear(), linear()]
    models[1].load_state_dict(models[0].state_dict())
    data = ImageArrays(torch.rand(8, 1, 2, 1), torch.arange(8) % 2, ("a", "b"), "noise")
    for model, micro in zip(models, (None, 2), strict=True):
        recipe = toy_recipe(image_size=2, batch_size=8, micro_batch_size=micro, augmentation=PLAIN)
        log = fit(model, data, recipe)
        assert log.epochs[0].loss == pytest.approx(0.7, abs=0.3)
    torch.testing.assert_close(models[0][1].weight, models[1][1].weight)


def test_layers_have_their_own_rates(images):
    moved = []
    for decay in (1.0, 0.1):
        model = toy_model()
        before = weights(model)
        recipe = toy_recipe(epochs=1, batch_size=200, layer_decay=decay, momentum=0.0)
        fit(model, images, recipe)
        moved.append((model.model[2].weight.detach() - before["model.2.weight"]).norm())
    assert float(moved[1] / moved[0]) == pytest.approx(0.1, rel=1e-3)


def test_what_is_frozen_or_needs_no_gradient_stays(images):
    model = toy_model()
    before = copy.deepcopy(model.model)
    fit(model, images, toy_recipe(epochs=1, ema_decay=0.5, frozen=("2.*",), micro_batch_size=8))
    same = [same_weights(*each) for each in zip(before, model.model, strict=True)]
    assert same == [True, True, True, True, True, False]
    assert model.model[0].weight.grad is None


def test_bfloat16_and_channels_last_reach_the_network():
    seen = []

    class Probe(nn.Module):
        def forward(self, x):
            seen.append((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
            return x

    colour = load_embedded("train", image_size=28, in_chans=3).subset(64)
    convolution, readout = nn.Conv2d(3, 8, 5, stride=3), nn.Linear(512, 10)
    network = nn.Sequential(convolution, Probe(), nn.Flatten(), readout)
    recipe = toy_recipe(channels_last=True, precision="bfloat16", epochs=1, augmentation=PLAIN)
    fit(PixelModel(network, 0.5, 0.5), colour, recipe)
    assert seen == [(torch.bfloat16, True)] * 2
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert readout.weight.dtype == torch.float32


NO_SIGNALS = {signal.SIGTERM: False, signal.SIGINT: False}


def quiet_trainer(model, images, group, **settings):
    recipe = toy_recipe(**settings)
    return Trainer(model, images, recipe, group, NO_SIGNALS, RunFolder(None, recipe), images)


def accuracy(model, images, epoch=0, **settings):
    """Accuracy after an epoch, as training measures it."""
    with process_group("cpu") as group, torch.random.fork_rng():
        trainer = quiet_trainer(model, images, group, **settings)
        trainer.state.epoch = epoch
        hits = trainer.validate(model.eval())
    assert hits is not None
    return hits / len(images)


def test_noise_depends_on_the_epoch_and_nothing_else():
    images, model = toy_images(150), toy_model(noise=3.0)
    found = accuracy(model, images)
    torch.manual_seed(99)
    assert accuracy(model, images) == found
    assert len({accuracy(model, images, epoch) for epoch in range(4)}) > 1
    assert len({accuracy(model, images, seed=seed) for seed in range(4)}) > 1


def test_decisions_are_averaged_over_draws():
    class Coin(nn.Module):
        """Right by 0.6 on average, by a coin on any draw."""

        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, pixels):
            right = torch.rand(len(pixels)) < 0.6
            return 4.0 * torch.stack([right, ~right], dim=1)

    images = ImageArrays(torch.zeros(200, 1, 2, 2), torch.zeros(200), ("a", "b"), "zeros")
    once, often = (accuracy(Coin(), images, decision_samples=n) for n in (1, 101))
    assert once == pytest.approx(0.6, abs=0.12)
    assert often > 0.95


@pytest.mark.parametrize(
    ("settings", "size"), [({"micro_batch_size": 8}, 8), ({"batch_size": 300}, 256)]
)
def test_validation_batches_are_micro_batches_and_never_big(settings, size):
    """A training step may have taken all of the memory."""
    images = toy_images(300)
    with process_group("cpu") as group:
        trainer = quiet_trainer(toy_model(), images, group, **settings)
    assert len(next(iter(trainer.validation_loader))[1]) == size


def test_loss_that_is_not_finite_stops(images):
    model = toy_model()
    with torch.no_grad():
        model.model[5].bias[0] = float("inf")
    with pytest.raises(VOneNetError, match=r"nan at step 1 of epoch 1, learning rate .*warmup"):
        fit(model, images, toy_recipe())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamx"}, r"optimizer='adamx' is unknown; near it: .*adam"),
        ({"optimizer": "nesterov", "momentum": 0.0}, r"'nesterov' cannot be made .*momentum"),
        ({"precision": "float16"}, r"'float16' needs a GPU"),
        ({"batch_size": 256, "micro_batch_size": 64}, r"cut into 4 .*there are 200 images"),
    ],
)
def test_recipes_that_cannot_be_followed(images, settings, message, tmp_path):
    """... leave no recipe behind that would bar the way of a better one."""
    with pytest.raises(InputError, match=message):
        fit(toy_model(), images, toy_recipe(**settings), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_devices_and_trackers_that_are_not_there(images, monkeypatch, tmp_path):
    def refused(message, **settings):
        with pytest.raises(InputError, match=message):
            fit(toy_model(), images, toy_recipe(), **settings)

    refused("device must be auto", device="tpu")
    refused("checkpoint_minutes=nan; allowed: 0 or more", checkpoint_minutes=math.nan)
    refused("give out", trackers=["tensorboard"])
    refused("'mlflow' is unknown; allowed: tensorboard, wandb", trackers=["mlflow"], out=tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused("not installed: pip install wandb", trackers=["wandb"], out=tmp_path)

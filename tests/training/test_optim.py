"""Parameter groups by formula and by timm; learning rates beside PyTorch's own schedulers."""

import dataclasses
from functools import partial
from itertools import chain

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.optim import lr_scheduler

import vonenet
from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.training.config import OptimizationRecipe
from vonenet.training.optim import (
    keep_frozen_in_eval,
    layer_numbers,
    learning_rate_at,
    parameter_groups,
)

FEW = {"simple_channels": 4, "complex_channels": 4, "image_size": 64, "num_classes": 5}


def small():
    return vonenet.create_model("voneresnet_small", **FEW)


def layers_of(network):
    """Names of parameters by layer, from input to output."""
    numbers = layer_numbers(network)
    layers = [[name for name in numbers if numbers[name] == n] for n in set(numbers.values())]
    assert sorted(chain(*layers)) == sorted(name for name, _ in network.named_parameters())
    return layers


def settings_by_name(network, groups):
    """Name -> its group's weight decay and factor of the learning rate."""
    of = {
        id(parameter): (group["weight_decay"], group["lr_scale"])
        for group in groups
        for parameter in group["params"]
    }
    assert len(of) == sum(len(group["params"]) for group in groups)
    return {name: of[id(p)] for name, p in network.named_parameters() if id(p) in of}


@pytest.mark.parametrize("vectors_too", [True, False])
def test_vectors_are_decayed_only_if_asked_for(vectors_too):
    network = small()
    recipe = OptimizationRecipe(weight_decay=0.01, decay_norms_and_biases=vectors_too)
    found = settings_by_name(network, parameter_groups(network, recipe))
    for name, parameter in network.named_parameters():
        assert found[name] == (0.01 if vectors_too or parameter.ndim > 1 else 0.0, 1.0)


def test_rates_fall_from_the_head_to_the_bottleneck():
    network = small()
    groups = parameter_groups(PixelModel(network, 0.5, 0.5), OptimizationRecipe(layer_decay=0.5))
    found = settings_by_name(network, groups)
    expected = {"fc": 1, "block3": 0.5, "block2": 0.25, "block1": 0.125}
    for name, (_, scale) in found.items():
        part = name.split(".")[1] if name.startswith("model.") else name
        assert scale == expected.get(part, 0.0625)


NATIVE = {
    "voneresnet18": ["layer1.0", "layer1.1", "layer2.0", "layer4.1", "fc"],
    "vonecornet_s": ["V2", "V4", "IT", "decoder"],
    "vonealexnet": ["features.0", "features.3", "features.7", "classifier.1", "classifier.6"],
}


@pytest.mark.parametrize("name", NATIVE)
def test_layers_of_our_networks_are_in_order(name, monkeypatch):
    for method in ("normal_", "uniform_"):  # no weight is looked at, and drawing them takes long
        monkeypatch.setattr(torch.Tensor, method, lambda self, *args, **keywords: self)
    network = vonenet.create_model(name, **FEW)
    layers = layers_of(network)
    assert layers[0] == ["bottleneck.weight"]
    assert f"{network.head_name}.weight" in layers[-1]
    places = [
        [number for number, names in enumerate(layers) if names[0].startswith(f"model.{part}.")]
        for part in NATIVE[name]
    ]
    assert all(len(each) == 1 for each in places)
    assert places == sorted(places)
    base = layers_of(vonenet.create_base_model(name, num_classes=5))
    assert len(base) == len(layers)
    assert all(any(not key.split(".")[-2].startswith("bn") for key in names) for names in base)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_layers_of_timms_networks_are_timms(name):
    """timm's own groups, of a network of which no stem has been taken."""
    network = timm.create_model(name)
    recipe = OptimizationRecipe(layer_decay=0.7, weight_decay=0.05, decay_norms_and_biases=False)
    timms = param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.7)
    found = settings_by_name(network, parameter_groups(network, recipe))
    expected = settings_by_name(network, timms)
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(expected[key]) for key in found)


@pytest.mark.parametrize("name", ["vone_test_vit", "vone_test_efficientnet", "vone_test_convnext"])
def test_behind_v1_timms_layers_follow_the_bottleneck(name):
    size = 160 if name == "vone_test_vit" else 64
    network = vonenet.create_model(name, **{**FEW, "image_size": size})
    layers = layers_of(network)
    assert layers[0] == ["bottleneck.weight"]
    assert f"{network.head_name}.weight" in layers[-1]


def test_statistics_are_frozen_where_a_pattern_says_so():
    network = small()
    model = PixelModel(network, 0.5, 0.5).train()
    keep_frozen_in_eval(model, ["bottleneck.*", "model.block1.*"])
    assert not network.model.block1.bn1.training
    assert network.model.block2.bn1.training
    keep_frozen_in_eval(network.train(), ["*.weight"])  # statistics go on
    assert network.model.block1.bn1.training


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest():
    model = PixelModel(small(), 0.5, 0.5)
    words = r"frozen='model.block9.\*' matches nothing in the network; nearest: model.block\d\."
    with pytest.raises(InputError, match=words):
        parameter_groups(model, OptimizationRecipe(frozen=("model.block9.*",)))
    with pytest.raises(InputError, match=r"frozen='layer1' matches nothing"):
        keep_frozen_in_eval(model, ["layer1"])


def test_nothing_to_train_is_refused():
    with pytest.raises(InputError, match=r"nothing to train with optimization.frozen=\['\*'\]"):
        parameter_groups(small(), OptimizationRecipe(frozen=("*",)))
    with pytest.raises(InputError, match=r"nothing to train with optimization.frozen=\[\]"):
        parameter_groups(nn.ReLU(), OptimizationRecipe())


STEPS = 50  # an epoch
SCHEDULED = OptimizationRecipe(epochs=10, learning_rate=0.2, step_epochs=2)


TOTAL = STEPS * SCHEDULED.epochs
THEIRS = {
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=TOTAL),
    "step": partial(lr_scheduler.StepLR, step_size=STEPS * SCHEDULED.step_epochs),
    # it counts its last step as the end; one step more makes the ends meet
    "onecycle": partial(
        lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=TOTAL + 1, cycle_momentum=False
    ),
    "constant": partial(lr_scheduler.ConstantLR, factor=1.0),
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("schedule", THEIRS)
def test_as_pytorchs_schedulers(schedule):
    recipe = dataclasses.replace(SCHEDULED, schedule=schedule)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=SCHEDULED.learning_rate)
    scheduler = THEIRS[schedule](optimizer)
    for step in range(TOTAL):
        expected = optimizer.param_groups[0]["lr"]
        # PyTorch's one-cycle policy peaks one step early
        tolerance = 0.02 if schedule == "onecycle" else 1e-6
        ours = learning_rate_at(recipe, step / STEPS)
        assert ours == pytest.approx(expected, abs=tolerance * SCHEDULED.learning_rate), step
        scheduler.step()


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_is_a_straight_line(schedule):
    recipe = dataclasses.replace(SCHEDULED, schedule=schedule, warmup_epochs=2)
    assert learning_rate_at(recipe, 0) == 0
    assert learning_rate_at(recipe, 0.5) == pytest.approx(0.05)
    assert learning_rate_at(recipe, 1.999) == pytest.approx(0.2, rel=1e-3)


def test_trainable_gabor_filters_are_not_decayed():
    settings = {"simple_channels": 4, "complex_channels": 4, "image_size": 32, "trainable": True}
    network = vonenet.create_model("voneresnet_small", num_classes=5, **settings)
    recipe = OptimizationRecipe(weight_decay=0.01, layer_decay=0.5)
    found = settings_by_name(network, parameter_groups(network, recipe))
    assert found["vone_block.gabor_bank.phase_rad"] == (0.0, found["bottleneck.weight"][1])
    assert found["bottleneck.weight"][0] == 0.01

"""Weights files: ours bit for bit, published layouts, and every way in which a file is wrong."""

import argparse
import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

import vonenet
from tests.published import golden_weights, write_published
from vonenet import cli
from vonenet.errors import CheckpointError, InputError
from vonenet.zoo import checkpoints
from vonenet.zoo.checkpoints import STRAY_KEYS, save_base_checkpoint
from vonenet.zoo.registry import load_base_checkpoint
from vonenet.zoo.weights import plain_names

TINY = {"image_size": 32, "simple_channels": 8, "complex_channels": 8, "num_classes": 10}
ONE = torch.ones(1)
SMALL = {"simple_channels": 8, "complex_channels": 8, "filters": "legacy"}


def same_outputs(first, second, images):
    with vonenet.fixed_noise(first, 0), vonenet.fixed_noise(second, 0):
        return torch.equal(first.eval()(images), second.eval()(images))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("voneresnet_small", TINY),
        ("voneresnet_small", {**TINY, "filters": "legacy", "color_seed": 3, "noise": None}),
        ("voneresnet_small", {**TINY, "in_chans": 1, "noise": "gaussian", "image_size": (32, 48)}),
        ("vone_resnet10t", {**TINY, "image_size": 64}),
    ],
)
def test_our_files_give_the_same_model(tmp_path, name, settings):
    model = vonenet.create_model(name, **settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vonenet.save_checkpoint(model, tmp_path / "model.safetensors")
    again = vonenet.load_checkpoint(tmp_path / "model.safetensors")
    assert again.config == model.config
    assert again.config.name == name
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    assert (
        again.vone_block.gabor_parameters.to_dict() == model.vone_block.gabor_parameters.to_dict()
    )
    size = model.pretrained_cfg["input_size"]
    assert same_outputs(model, again, torch.rand(2, *size))


@pytest.mark.parametrize("front_end", ["vonenet", "vonenet2026", "evnet2025", "vonenet_push_pull"])
def test_a_compact_file_gives_the_model_with_rounded_weights(tmp_path, front_end):
    settings = {**TINY, "image_size": 64, "front_end": front_end}
    model = vonenet.create_model("voneresnet_small", **settings)
    model.class_names = tuple("abcdefghij")
    whole, compact = tmp_path / "whole.safetensors", tmp_path / "compact.safetensors"
    vonenet.save_checkpoint(model, whole)
    vonenet.save_checkpoint(model, compact, compact=True)
    assert compact.stat().st_size < whole.stat().st_size / 2
    assert not any("simple_conv" in key for key in load_file(compact))
    again = vonenet.load_checkpoint(compact)
    assert again.config == model.config
    assert again.class_names == model.class_names
    for key, value in again.state_dict().items():
        expected = model.state_dict()[key]
        is_front_end = key in dict(model.front_end.state_dict())
        assert torch.equal(value, expected if is_front_end else expected.half().to(expected.dtype))
    vonenet.save_checkpoint(again, compact, compact=True)
    assert same_outputs(again, vonenet.load_checkpoint(compact), torch.rand(2, 3, 64, 64))


def test_a_compact_file_keeps_filters_that_its_settings_do_not_give(tmp_path, small):
    path = tmp_path / "compact.safetensors"
    changed = copy.deepcopy(small)
    with torch.no_grad():
        changed.vone_block.simple_conv_q0.weight[0] += 0.1
    vonenet.save_checkpoint(changed, path, compact=True)
    again = vonenet.load_checkpoint(path)
    for name in ("q0", "q1"):
        key = f"vone_block.simple_conv_{name}.weight"
        assert torch.equal(again.state_dict()[key], changed.state_dict()[key])


@pytest.mark.parametrize("change", [lambda value: 1.001 * value, lambda value: value.flip(0)])
def test_a_compact_file_whose_filters_would_be_others_is_refused(
    tmp_path, small, monkeypatch, change
):
    path = tmp_path / "compact.safetensors"
    vonenet.save_checkpoint(small, path, compact=True)
    drawn = checkpoints._drawn
    monkeypatch.setattr(
        checkpoints, "_drawn", lambda stored: {k: change(v) for k, v in drawn(stored).items()}
    )
    with pytest.raises(CheckpointError, match=r"simple_conv_q0.weight, and its settings give"):
        vonenet.load_checkpoint(path)


def test_weights_that_a_compact_file_cannot_hold_are_refused(tmp_path, small):
    changed = copy.deepcopy(small)
    with torch.no_grad():
        changed.bottleneck.weight[0] = 1e6
    with pytest.raises(InputError, match=r"bottleneck.weight has values that float16"):
        vonenet.save_checkpoint(changed, tmp_path / "compact.safetensors", compact=True)


def test_create_model_takes_a_checkpoint(tmp_path):
    model = vonenet.create_model("voneresnet_small", **TINY)
    vonenet.save_checkpoint(model, tmp_path / "a.safetensors")
    again = vonenet.create_model("voneresnet_small", checkpoint=tmp_path / "a.safetensors")
    assert same_outputs(model, again, torch.rand(1, 3, 32, 32))
    with pytest.raises(vonenet.InputError, match="holds a voneresnet_small .* not a vonealexnet"):
        vonenet.create_model("vonealexnet", checkpoint=tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def published_model():
    model = vonenet.create_model("voneresnet18", **SMALL, num_classes=20)
    model.load_state_dict(golden_weights(model))
    return model


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_published_files_load_and_convert_to_ours(tmp_path, published_model, prefix):
    stray = dict.fromkeys(STRAY_KEYS, torch.zeros(1)) if not prefix else None
    path = write_published(tmp_path / "p.pth.tar", published_model, prefix=prefix, stray=stray)
    model = vonenet.load_checkpoint(path)
    assert same_outputs(model, published_model, torch.rand(1, 3, 64, 64))
    assert model.config.backbone == "resnet18"
    vonenet.save_checkpoint(model, tmp_path / "ours.safetensors")
    again = vonenet.load_checkpoint(tmp_path / "ours.safetensors")
    assert again.vone_block.gabor_parameters is not None
    assert again.config == model.config
    assert same_outputs(model, again, torch.rand(1, 3, 64, 64))


def test_filters_and_noise_come_from_the_file(tmp_path, published_model):
    flags = {"noise_mode": "gaussian", "noise_scale": 0.2, "k_exc": 23.5}
    path = write_published(tmp_path / "p.pth.tar", published_model, flags=flags)
    v1 = vonenet.load_checkpoint(path).config.v1
    assert (v1.noise, v1.noise_scale, v1.k_exc, v1.filters) == ("gaussian", 0.2, 23.5, "given")
    silent = write_published(tmp_path / "n.pth.tar", published_model, flags={"noise_mode": None})
    assert vonenet.load_checkpoint(silent).noise is None


def test_gabor_parameters_of_published_filters_are_recovered_or_left_out(tmp_path, published_model):
    """The original's metadata described other filters than the loaded ones."""
    path = write_published(tmp_path / "p.pth.tar", published_model)
    recovered = vonenet.load_checkpoint(path).vone_block.gabor_parameters
    assert recovered is not None
    expected = published_model.vone_block.gabor_parameters
    np.testing.assert_allclose(recovered.frequency_cpd, expected.frequency_cpd)
    assert np.array_equal(recovered.color_channel_q1, expected.color_channel_q1)
    other = vonenet.create_model("voneresnet18", simple_channels=8, complex_channels=8, seed=5)
    path = write_published(tmp_path / "o.pth.tar", other)
    words = "image_size=224, visual_degrees=8.0 is assumed"
    with pytest.warns(vonenet.VOneNetWarning, match=words):
        assert vonenet.load_checkpoint(path).vone_block.gabor_parameters is None
    block = vonenet.load_checkpoint(path, image_size=64, visual_degrees=2.0).vone_block
    assert block.config.pixels_per_degree == 32


def test_what_a_published_file_does_not_say_is_asked_for(tmp_path, published_model):
    path = write_published(tmp_path / "p.pth.tar", published_model)
    torch.save({"state_dict": torch.load(path, weights_only=True)["state_dict"]}, path)
    words = "does not say stride, k_exc, noise, image_size, visual_deg"
    with pytest.raises(vonenet.CheckpointError, match=words):
        vonenet.load_checkpoint(path)
    settings = {"stride": 4, "k_exc": 25.0, "image_size": 224, "visual_degrees": 8.0}
    with pytest.raises(vonenet.CheckpointError, match="does not say noise_scale, noise_level"):
        vonenet.load_checkpoint(path, noise="neuronal", **settings)
    model = vonenet.load_checkpoint(path, noise=None, **settings)
    images = torch.rand(1, 3, 64, 64)
    with vonenet.no_noise(published_model):
        assert torch.equal(model.eval()(images), published_model.eval()(images))
    options = ["--stride=4", "--k-exc=25", "--image-size=224", "--visual-degrees=8", "--noise=off"]
    cli.main(["convert", str(path), str(tmp_path / "new.safetensors"), *options])
    assert vonenet.load_checkpoint(tmp_path / "new.safetensors").config == model.config
    # A fork's 2 degrees are those of its 64 px, not of the original's 224: they are no geometry.
    write_published(path, published_model, flags={"visual_degrees": 2})
    with pytest.raises(vonenet.CheckpointError, match="does not say image_size, which"):
        vonenet.load_checkpoint(path)
    v1 = vonenet.load_checkpoint(path, image_size=64).config.v1
    assert (v1.pixels_per_degree, v1.image_size) == (32, (64, 64))


def test_every_keyword_counts_with_trained_weights(tmp_path, published_model):
    """The original drops them in silence."""
    path = write_published(tmp_path / "p.pth.tar", published_model)
    with pytest.warns(vonenet.VOneNetWarning, match="head for 10 is new and untrained"):
        ten = vonenet.load_checkpoint(path, num_classes=10, noise=None, image_size=96)
    assert ten.eval()(torch.rand(1, 3, 96, 96)).shape == (1, 10)
    assert ten.noise is None
    assert ten.config.v1.pixels_per_degree == pytest.approx(28)
    body = "model.layer3.1.conv2.weight"
    assert torch.equal(ten.state_dict()[body], published_model.state_dict()[body])
    assert vonenet.load_checkpoint(path, sf_max=9.0).config.v1.sf_max == 9.0
    for setting in ({"kernel_size": 31}, {"sf_max": 5.0}, {"seed": 1}, {"visual_degrees": 2.0}):
        with pytest.raises(vonenet.InputError, match="contradicts the trained weights"):
            vonenet.load_checkpoint(path, **setting)


def test_grey_images_give_what_their_colour_copies_give(tmp_path, published_model):
    path = write_published(tmp_path / "p.pth.tar", published_model)
    grey = vonenet.load_checkpoint(path, in_chans=1, noise=None).eval()
    colour = vonenet.load_checkpoint(path, noise=None).eval()
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(
        grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("backbone", ["voneresnet34", "vonealexnet", "vonecornet_s"])
def test_backbones_are_known_by_their_keys(tmp_path, backbone):
    model = vonenet.create_model(backbone, **SMALL, num_classes=3)
    path = write_published(tmp_path / "p.pth.tar", model)
    assert vonenet.load_checkpoint(path).config.name == backbone


def test_wrong_keys_are_named(tmp_path, published_model):
    path = write_published(tmp_path / "p.pth.tar", published_model, stray={"extra": torch.ones(1)})
    with pytest.raises(vonenet.CheckpointError, match="extra is unknown"):
        vonenet.load_checkpoint(path)
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["extra"], content["state_dict"]["module.bottleneck.weight"]
    torch.save(content, path)
    with pytest.raises(vonenet.CheckpointError, match="bottleneck.weight is missing"):
        vonenet.load_checkpoint(path)
    torch.save({"state_dict": {"a.weight": torch.ones(1)}}, path)
    with pytest.raises(vonenet.CheckpointError, match="holds no VOneNet"):
        vonenet.load_checkpoint(path)


def test_flags_of_old_training_scripts_are_read(tmp_path, published_model):
    """Namespaces and numpy scalars, `model_arch` for `arch`."""
    path = write_published(tmp_path / "p.pth.tar", published_model)
    content = torch.load(path, weights_only=True)
    flags = {**content["flags"], "noise_scale": np.float64(0.3), "model_arch": "resnet18"}
    torch.save({**content, "flags": argparse.Namespace(**flags)}, path)
    assert vonenet.load_checkpoint(path).config.v1.noise_scale == 0.3


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda _: None, "no weights file"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(save({"a": torch.ones(99)})[:-200]), "is damaged"),
        (lambda path: save_file({"a": ONE}, path, {"format": "other"}), "not a vonenet checkpoint"),
        (
            lambda path: save_file({"a": ONE}, path, {"format": "vonenet-1", "config": "{}"}),
            "configuration that cannot be used: it lacks 'v1'",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, write, words):
    write(tmp_path / "model.safetensors")
    with pytest.raises(vonenet.CheckpointError, match=words) as caught:
        vonenet.load_checkpoint(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


# --- what people have ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return vonenet.create_model("voneresnet18", **SMALL, num_classes=3).eval()


SAID = {"stride": 4, "k_exc": 25.0, "image_size": 224, "visual_degrees": 8.0, "noise": None}


def with_part(model, name, wrap):
    """A copy with one part wrapped."""
    copied = copy.deepcopy(model)
    setattr(copied, name, wrap(getattr(copied, name)))
    return copied


def twice(module):
    return nn.DataParallel(nn.DataParallel(module))


WRAPPERS = {
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "twice": twice,
    "compiled and parallel": lambda model: nn.DataParallel(torch.compile(model)),
    "averaged": torch.optim.swa_utils.AveragedModel,
    "trainer": lambda model: nn.ModuleDict({"model": model}),
    "net": lambda model: nn.ModuleDict({"net": nn.DataParallel(model)}),
    "compiled back-end": lambda model: with_part(model, "model", torch.compile),
    "parallel back-end": lambda model: with_part(model, "model", nn.DataParallel),
    "parallel V1": lambda model: with_part(model, "vone_block", twice),
}


@pytest.fixture(scope="module")
def small():
    return vonenet.create_model("voneresnet_small", **TINY).eval()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_names_are_those_of_the_network_without_its_wrappers(small, wrapper):
    plain = plain_names(WRAPPERS[wrapper](small).state_dict())
    plain.pop("n_averaged", None)
    state = small.state_dict()
    assert plain.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in plain.items())


@pytest.mark.parametrize("wrapper", ["compiled and parallel", "compiled back-end"])
def test_wrapped_models_are_saved_without_their_wrappers(tmp_path, small, wrapper):
    path = tmp_path / "w.safetensors"
    vonenet.save_checkpoint(WRAPPERS[wrapper](small), path)
    assert load_file(path).keys() == small.state_dict().keys()
    assert same_outputs(vonenet.load_checkpoint(path), small, torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "net"])
def test_a_state_dict_is_found_where_programs_put_it(tmp_path, tiny, key):
    content = tiny.state_dict() if key is None else {"epoch": 3, key: tiny.state_dict()}
    torch.save(content, tmp_path / "w.pt")
    assert vonenet.load_checkpoint(tmp_path / "w.pt", **SAID).config.num_classes == 3
    with pytest.raises(vonenet.CheckpointError, match="does not say stride, k_exc, noise"):
        vonenet.load_checkpoint(tmp_path / "w.pt")


def test_arrays_and_paths_in_a_file_are_read_without_running_any_of_it(tmp_path, tiny):
    arrays = {key: value.numpy() for key, value in tiny.state_dict().items()}
    content = {
        "model": arrays,
        "out": tmp_path,
        "classes": np.array(["a", "b"]),
        "best": [np.ones(3)],
    }
    torch.save(content, tmp_path / "w.pt")
    state = vonenet.load_checkpoint(tmp_path / "w.pt", **SAID).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in tiny.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {f"{p}.{k}": v for p in ("a", "b") for k, v in state.items()},
            "'a.' and 'b.'",
        ),
        (lambda state: state | {"mean": ONE}, "mean is unknown"),
        (lambda state: state | {"model._orig_mod.fc.bias": ONE}, "have one name"),
        (lambda state: {"module.vone_block.simple_conv_q0.weight": ONE}, "holds no VOneNet"),
        (lambda state: {"a": "text"}, "holds no state dict of tensors, neither alone nor as"),
    ],
)
def test_other_state_dicts_are_refused_in_one_line(tmp_path, tiny, change, words):
    torch.save(change(tiny.state_dict()), tmp_path / "w.pt")
    with pytest.raises(vonenet.CheckpointError, match=words) as caught:
        vonenet.load_checkpoint(tmp_path / "w.pt", **SAID)
    assert "\n" not in str(caught.value)


# --- saved only if it can be loaded ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda model: model.model.set_submodule("avgpool", nn.AdaptiveMaxPool2d(1)),
            "model.avgpool is AdaptiveMaxPool2d.*, and a voneresnet_small of a file has",
        ),
        (
            lambda model: setattr(model, "model", nn.Sequential(nn.Linear(64, 3))),
            "model.0 is Linear.* of a file has nothing there",
        ),
        (
            lambda model: model.add_module("aux", nn.Dropout()),
            "aux is Dropout.* of a file has nothing there",
        ),
        (
            lambda model: model.set_submodule("vone_block.noise", nn.ReLU()),
            r"vone_block.noise is ReLU\(\)",
        ),
        (
            lambda model: setattr(model.model.block1.conv1, "stride", (4, 4)),
            r"model.block1.conv1 is Conv2d\(.*stride=\(4, 4\)",
        ),
        (lambda model: model.vone_block.fix_noise(seed=1), r"level 0.07, fixed\), and"),
        (
            lambda model: setattr(model, "class_names", ("a", "b")),
            "2 names for 10 outputs; needed: a name for each",
        ),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, small, change, words):
    model = copy.deepcopy(small)
    change(model)
    with pytest.raises(vonenet.InputError, match=words):
        vonenet.save_checkpoint(model, tmp_path / "m.safetensors")
    with pytest.raises(vonenet.InputError, match="a Linear is no VOneNet"):
        vonenet.save_checkpoint(nn.Linear(3, 3), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_head_is_saved_with_its_number_of_classes(tmp_path):
    model = vonenet.create_model("voneresnet_small", **TINY)
    model.model.fc = nn.Linear(model.model.fc.in_features, 2)
    vonenet.save_checkpoint(model, tmp_path / "m.safetensors", classes=["cat", "dog"])
    again = vonenet.load_checkpoint(tmp_path / "m.safetensors")
    assert (again.config.num_classes, again.class_names) == (2, ("cat", "dog"))
    vonenet.save_checkpoint(again, tmp_path / "n.safetensors")
    assert vonenet.load_checkpoint(tmp_path / "n.safetensors").class_names == ("cat", "dog")
    with pytest.warns(vonenet.VOneNetWarning, match="new and untrained"):
        other = vonenet.load_checkpoint(tmp_path / "n.safetensors", num_classes=5)
    assert other.class_names is None


# --- hostile headers ------------------------------------------------------------------------------

BASE = {"name": "voneresnet_small", "in_chans": 3, "mean": [0.5], "std": [0.5], "image_size": 32}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A VOneNet's file and a base network's, with their headers: what and how to load it."""
    folder = tmp_path_factory.mktemp("ours")
    model = vonenet.create_model("voneresnet_small", **TINY)
    vonenet.save_checkpoint(model, folder / "v.safetensors", classes=list("abcdefghij"))
    base = vonenet.create_base_model("voneresnet_small", num_classes=2, image_size=32)
    save_base_checkpoint(base, folder / "b.safetensors", classes=["x", "y"], **BASE)
    return {"v": folder / "v.safetensors", "b": folder / "b.safetensors"}


LOAD = {"v": vonenet.load_checkpoint, "b": load_base_checkpoint}


def with_header(path, new, change):
    """A copy of a file, its header changed by a function of its parsed values."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
    values = {k: v if k == "format" else json.loads(v) for k, v in header.items()}
    change(values)
    header = {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}
    save_file(load_file(path), new, header)


@pytest.mark.parametrize("kind", ["v", "b"])
def test_no_memory_is_asked_for_before_shapes_agree(ours, tmp_path, kind):
    """A linear layer of 10^9 classes has 256 GB."""

    def change(values):
        values.pop("classes")
        settings = values["base"]["settings"] if kind == "b" else values["config"]
        settings["num_classes"] = 10**9

    with_header(ours[kind], tmp_path / "large.safetensors", change)
    with pytest.raises(vonenet.CheckpointError, match="has shape .* instead of .1000000000"):
        LOAD[kind](tmp_path / "large.safetensors")


HOSTILE = [
    ("b", "base.settings.backbone_weights", "/etc/passwd", "settings must be num_classes"),
    ("b", "base.settings.num_classes", 10**9, "2 names for 1000000000 outputs"),
    ("b", "base.settings.num_classes", True, "num_classes must be a whole number"),
    ("b", "base.settings.image_size", 10**6, "image_size must be a whole number from 1 to 4096"),
    ("b", "base.settings.in_chans", -1, "in_chans must be a whole number"),
    ("b", "base.name", "vone_hf-hub:timm/resnet18", "unknown back-end"),
    ("b", "base.mean", [float("nan")], "must be finite"),
    ("b", "base", [], "cannot be used"),
    ("b", "base", "[" * 100_000, "cannot be read"),
    ("b", "classes", ["x"], "1 names for 2 outputs"),
    ("v", "config.num_classes", 11, "10 names for 11 outputs"),
    ("v", "config.num_classes", "10", "num_classes must be a whole number"),
    ("v", "config.backbone", "timm/hf-hub:timm/resnet18", "unknown back-end"),
    ("v", "config.v1.simple_channels", 10**9, "has shape|weights, at most"),
    ("v", "config.v1.image_size", [10**6, 10**6], "1 to 4096"),
    ("v", "config.v1.kernel_size", 10**6 + 1, "has shape|weights, at most"),
    ("v", "config.v1.checkpoint", "/etc/passwd", "cannot be used"),
    ("v", "config.weights", "/etc/passwd", "cannot be used"),
    ("v", "config.v1", None, "cannot be used"),
    ("v", "classes", ["x"] * 10, "1 names for 10 outputs"),
    ("v", "classes", 5, "cannot be used"),
]


@pytest.mark.parametrize(("kind", "where", "value", "words"), HOSTILE)
def test_a_header_asks_only_for_what_the_weights_are(ours, tmp_path, kind, where, value, words):
    def change(values):
        *parents, last = where.split(".")
        for key in parents:
            values = values[key]
        values[last] = value

    with_header(ours[kind], path := tmp_path / "hostile.safetensors", change)
    with pytest.raises(vonenet.InputError, match=words) as caught:
        LOAD[kind](path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


WATCHED = """
import sys
import vonenet
from vonenet.zoo.loading import load_model
from vonenet.zoo.registry import load_base_checkpoint
from vonenet.zoo.weights import plain_names
paths = sys.argv[1:]
for path in paths:
    load_model(path)  # what is imported late, is now
seen = []
def watch(event, args):
    if event.split(".")[0] in ("socket", "subprocess", "os", "urllib", "ctypes", "import", "open"):
        seen.append((event, *args))
sys.addaudithook(watch)
for path in paths:
    load_model(path)
vonenet.load_checkpoint(paths[0])
other = [each for each in seen if each[0] != "open" or str(each[1]) not in paths]
print(*(other or ["nothing"]))
"""


@pytest.mark.slow
def test_loading_opens_nothing_but_the_file(ours, tmp_path, tiny):
    """No socket, no process, no other file: what the code is asked for is all that it touches."""
    torch.save(
        {"state_dict": tiny.state_dict(), "flags": SAID | {"noise_mode": None}}, tmp_path / "p.pt"
    )
    paths = [*map(str, ours.values()), str(tmp_path / "p.pt")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED, *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "nothing\n"

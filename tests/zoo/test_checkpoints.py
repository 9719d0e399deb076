"""Weights files: ours bit for bit, published layouts, and every way in which a file is wrong."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

import vonenet
from tests.published import golden_weights, write_published
from vonenet.zoo.checkpoints import STRAY_KEYS

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


def test_create_model_takes_a_checkpoint(tmp_path):
    model = vonenet.create_model("voneresnet_small", **TINY)
    vonenet.save_checkpoint(model, tmp_path / "a.safetensors")
    again = vonenet.create_model("voneresnet_small", checkpoint=tmp_path / "a.safetensors")
    assert same_outputs(model, again, torch.rand(1, 3, 32, 32))
    with pytest.raises(vonenet.InputError, match="holds a voneresnet_small .* not a vonealexnet"):
        vonenet.create_model("vonealexnet", checkpoint=tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def published_model():
    model = vonenet.create_model("voneresnet18", **SMALL)
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
    model = vonenet.create_model(backbone, **SMALL)
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
            "configuration that cannot be read",
        ),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, write, words):
    write(tmp_path / "model.safetensors")
    with pytest.raises(vonenet.CheckpointError, match=words) as caught:
        vonenet.load_checkpoint(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


def test_a_failed_save_leaves_the_file_before_it(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model = vonenet.create_model("voneresnet_small", **TINY)
    vonenet.save_checkpoint(model, path)
    before = path.read_bytes()

    def full_disk(path, _content):
        with path.open("wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(vonenet.InputError, match="cannot be written: No space left"):
        vonenet.save_checkpoint(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

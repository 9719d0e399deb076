"""VOneNet: the original's logits, its state dict, preprocessing, and the plain-module promises."""

import copy
import json
import pickle

import numpy as np
import pytest
import timm
import torch

import vonenet
from tests.conftest import GOLDEN
from tests.published import golden_weights

NAMES = {"resnet50": "voneresnet50", "alexnet": "vonealexnet", "cornets": "vonecornet_s"}
TINY = {"image_size": 32, "simple_channels": 8, "complex_channels": 8, "num_classes": 10}


@pytest.fixture
def tiny():
    return vonenet.create_model("voneresnet_small", **TINY).eval()


@pytest.mark.parametrize("arch", NAMES)
def test_logits_are_the_originals(golden_outputs, arch):
    model = vonenet.create_model(NAMES[arch], filters="legacy", seed=0, color_seed=0).eval()
    model.load_state_dict(golden_weights(model))
    generator = torch.Generator().manual_seed(100)
    images = torch.rand(2, 3, 224, 224, generator=generator) * 2 - 1
    standard_normal = torch.randn(2, 512, 56, 56, generator=generator.manual_seed(200))
    with torch.inference_mode():
        mean = model.mean_response(images)
        for mode, suffix in [(None, "nonoise"), ("neuronal", "fixednoise"), ("gaussian", None)]:
            model.noise = mode
            responses = model.vone_block.respond(mean, standard_normal)
            logits = model.logits_from_v1(responses).numpy()
            golden = golden_outputs[f"{arch}_logits_{suffix or 'gaussian_fixednoise'}"]
            assert np.abs(logits - golden).max() < 1e-4 * np.abs(golden).max()
            if suffix:
                golden_mean = golden_outputs[f"{arch}_v1_{suffix}_mean_c"]
                ours = responses.mean(dim=(0, 2, 3)).numpy()
                assert np.abs(ours - golden_mean).max() < 1e-4 * golden_mean.max()


@pytest.mark.parametrize("arch", NAMES)
def test_state_dict_is_the_published_one(arch):
    manifest = json.loads((GOLDEN / "state_dict_manifest.json").read_text())[arch]
    with torch.device("cpu"):
        model = vonenet.create_model(NAMES[arch])
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == manifest
    assert [name for name, _ in model.named_children()] == ["vone_block", "bottleneck", "model"]


def test_trainable_parameters_are_the_published_number():
    model = vonenet.create_model("voneresnet50")
    # ResNet-50 without conv1 and bn1, and the bottleneck; also in Brain-Score's voneresnet_50_1
    assert 25_557_032 - 9_408 - 128 + 512 * 64 == 25_580_264
    assert sum(p.numel() for p in model.parameters()) == 25_580_264
    assert not any(name.startswith("vone_block") for name, _ in model.named_parameters())


def test_the_mean_response_protocol_is_the_forward_in_two_steps(tiny):
    images = torch.rand(3, 3, 32, 32)
    with vonenet.fixed_noise(tiny, 1):
        in_two_steps = tiny.forward_from_mean_response(tiny.mean_response(images))
        assert torch.equal(in_two_steps, tiny(images))


def test_noise_is_switched_by_assignment(tiny):
    images = torch.rand(2, 3, 32, 32)
    assert tiny.noise == "neuronal"
    assert not torch.equal(tiny(images), tiny(images))
    tiny.noise = None
    assert torch.equal(tiny(images), tiny(images))
    tiny.noise = "gaussian"
    assert tiny.config.v1.noise == "gaussian"
    with pytest.raises(vonenet.InputError, match="got 'loud'"):
        tiny.noise = "loud"


def test_hooks_on_published_layer_names_return_unchanged_activations():
    """Brain-Score reads these layers (brain-score/vision, models/voneresnet_50)."""
    model = vonenet.create_model("voneresnet18", image_size=64).eval()
    layers = ["vone_block", "vone_block.output", "bottleneck", "model.layer1.0", "model.avgpool"]
    seen, copies = {}, {}

    def keep(name):
        def hook(_module, _inputs, output):
            seen[name], copies[name] = output, output.clone()

        return hook

    for name in layers:
        model.get_submodule(name).register_forward_hook(keep(name))
    model(torch.rand(1, 3, 64, 64))
    assert list(seen) == ["vone_block.output", "vone_block", *layers[2:]]
    assert all(torch.equal(seen[name], copies[name]) for name in layers)


def test_building_prints_nothing_and_touches_no_global_state_but_the_weights_draw(capfd):
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    vonenet.create_model("voneresnet_small", **TINY)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


def test_copy_pickle_compile_export_and_vmap(tiny):
    images = torch.rand(2, 3, 32, 32)
    with vonenet.no_noise(tiny):
        expected = tiny(images)
        for again in (copy.deepcopy(tiny), pickle.loads(pickle.dumps(tiny))):
            torch.testing.assert_close(again(images), expected)
        compiled = torch.compile(tiny, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images), expected)
        exported = torch.export.export(tiny, (images,)).module()
        torch.testing.assert_close(exported(images), expected)
        vmapped = torch.func.vmap(lambda image: tiny(image[None])[0])(images)
        torch.testing.assert_close(vmapped, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "image_size", "in_chans"),
    [("voneresnet18", (65, 33), 1), ("vonealexnet", (48, 80), 3), ("vonecornet_s", 32, 1)],
)
def test_sizes_channels_and_classes(name, image_size, in_chans):
    settings = {**TINY, "image_size": image_size, "in_chans": in_chans, "num_classes": 7}
    model = vonenet.create_model(name, **settings).eval()
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    assert model(torch.rand(2, in_chans, height, width)).shape == (2, 7)
    assert model.pretrained_cfg["input_size"] == (in_chans, height, width)


def test_preprocessing_travels_with_the_model(tiny):
    config = timm.data.resolve_model_data_config(tiny)
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)
    assert config["input_size"] == (3, 32, 32)


def test_no_classes_is_refused():
    with pytest.raises(
        vonenet.InputError, match="num_classes must be a whole number from 1 to .*, got 0"
    ):
        vonenet.create_model("voneresnet18", num_classes=0)


def test_the_originals_ways_to_build_and_reach_parts(tiny):
    with pytest.raises(
        vonenet.InputError, match=r"get_model\('alexnet', pretrained=False, ksize=9"
    ):
        vonenet.VOneNet(model_arch="alexnet", ksize=9)
    assert [tiny[0], tiny[1], tiny[2], tiny[-1]] == [*tiny.children(), tiny.model]
    assert tiny[:2](torch.rand(1, 3, 32, 32)).shape[1] == tiny.bottleneck.out_channels
    assert not hasattr(tiny, "module")
    with pytest.raises(AttributeError, match=r"leave out \.module"):
        _ = tiny.module


def test_degrees_are_those_of_the_shorter_side():
    wide = vonenet.create_model("voneresnet_small", **{**TINY, "image_size": (32, 64)})
    assert (wide.visual_degrees, wide.image_size) == (2.0, (32, 64))
    assert wide.gabor_params["sf"].shape == (16,)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("noise_mode", "model.vone_block.noise_mode = 5"),
        ("image_size", "create_model(model.config.name, image_size=5)"),
        ("num_classes", "create_model(model.config.name, num_classes=5)"),
        ("config", "VOneNet.from_config(config)"),
    ],
)
def test_what_is_fixed_says_what_to_type(tiny, name, line):
    with pytest.raises(vonenet.InputError) as refusal:
        setattr(tiny, name, 5)
    assert str(refusal.value).endswith(f"type {line}")

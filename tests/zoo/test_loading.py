"""Models by address: each kind of address, and one line for each that leads nowhere."""

import pytest
import torch
from torch import nn

import vonenet
from vonenet.data import PixelModel
from vonenet.data.classes import imagenet_ids
from vonenet.data.pixels import preprocessing_text
from vonenet.errors import InputError
from vonenet.identity import model_hash
from vonenet.zoo.checkpoints import save_base_checkpoint
from vonenet.zoo.loading import load_model

TOY = """
from torch import nn
from vonenet.data import PixelModel

def plain():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))

def wrapped():
    return PixelModel(plain(), 0.4, 0.2, classes=["a", "b"])

def named():
    model = described()
    model.class_names = ["x", "y"]
    return model

def of_bytes():
    model = plain()
    model.pretrained_cfg = {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}
    return model

def of_torchvision():
    from torchvision.models import SqueezeNet
    return SqueezeNet("1_1")

def described():
    model = plain()
    model.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.3,), "std": (0.7,)}
    return model

def nothing():
    return 3

def named_by_text():
    model = plain()
    model.pretrained_cfg = "resnet18.a1_in1k"
    return model

def broken():
    raise ValueError("two\\nlines")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_models_of_a_test.py").write_text(TOY)
    (tmp_path / "half_written.py").write_text("def load(:")
    return "toy_models_of_a_test"


@pytest.mark.parametrize("suffix", ["", ".py"])
@pytest.mark.parametrize(
    ("function", "mean", "std", "size", "channels", "classes"),
    [
        ("wrapped", 0.4, 0.2, 224, 3, ("a", "b")),
        ("described", 0.3, 0.7, 32, 1, None),
        ("named", 0.3, 0.7, 32, 1, ("x", "y")),
    ],
)
def test_a_function_of_a_module_or_file(toy, suffix, function, mean, std, size, channels, classes):
    loaded = load_model(f"{toy}{suffix}:{function}")
    assert (loaded.name, loaded.image_size, loaded.in_chans) == (function, size, channels)
    assert loaded.model.classes == classes
    assert isinstance(loaded.model, PixelModel)
    assert not loaded.model.training
    assert float(loaded.model.mean) == pytest.approx(mean)
    assert float(loaded.model.std) == pytest.approx(std)


def test_a_weights_file_brings_its_preprocessing(tmp_path):
    model = vonenet.create_model(
        "voneresnet_small", image_size=32, num_classes=3, simple_channels=4, complex_channels=4
    )
    vonenet.save_checkpoint(model, tmp_path / "mine.safetensors", classes=["c", "a", "b"])
    before = torch.get_rng_state()
    loaded = load_model(str(tmp_path / "mine.safetensors"))
    assert torch.equal(torch.get_rng_state(), before)
    assert (loaded.name, loaded.image_size, loaded.model.classes) == ("mine", 32, ("c", "a", "b"))
    pixels = torch.rand(2, 3, 32, 32)
    with vonenet.no_noise(loaded.model), vonenet.no_noise(model), torch.no_grad():
        torch.testing.assert_close(loaded.model(pixels), model.eval()(2 * pixels - 1))


def test_the_base_network_of_a_file_brings_its_classes_too(tmp_path):
    base = vonenet.create_base_model("voneresnet_small", num_classes=2, image_size=32)
    described = {"name": "voneresnet_small", "in_chans": 3, "image_size": 32}
    path = tmp_path / "base.safetensors"
    save_base_checkpoint(base, path, mean=[0.4], std=[0.2], classes=["no", "yes"], **described)
    loaded = load_model(str(path))
    assert (loaded.image_size, loaded.model.classes) == (32, ("no", "yes"))
    assert float(loaded.model.std) == pytest.approx(0.2)


def test_a_base_network_has_the_noise_behind_its_stem_that_it_was_saved_with(tmp_path):
    base = vonenet.create_base_model(
        "voneresnet_tiny", stem_noise=0.7, num_classes=2, image_size=32
    ).eval()
    described = {"name": "voneresnet_tiny", "in_chans": 3, "image_size": 32, "stem_noise": 0.7}
    path = tmp_path / "base.safetensors"
    save_base_checkpoint(base, path, mean=[0.5], std=[0.5], classes=["no", "yes"], **described)
    loaded = load_model(str(path)).model.model.eval()
    assert model_hash(loaded) == model_hash(base)
    base.relu[1].set("gaussian", 0.6)
    assert model_hash(loaded) != model_hash(base)
    outputs = []
    loaded.relu.register_forward_hook(lambda _, __, output: outputs.append(output))
    images = 20 * torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        loaded(images)
        with vonenet.no_noise(loaded):
            loaded(images)
    noisy, silent = outputs
    added = (noisy - silent)[silent > 4 * 0.7]  # where rectification cuts nothing
    assert added.std().item() == pytest.approx(0.7, rel=0.1)
    assert (noisy >= 0).all()


@pytest.mark.parametrize(
    ("name", "noise", "message"),
    [
        ("vonecornet_s", 0.5, "stem_noise=0.5 is impossible for 'cornet_s'"),
        ("vone_test_vit", 0.5, "stem_noise=0.5 is impossible for 'timm/test_vit'"),
        ("voneresnet_tiny", -1, "stem_noise"),
    ],
)
def test_noise_that_no_base_network_can_have_is_refused(name, noise, message):
    with pytest.raises(InputError, match=message), torch.device("meta"):
        vonenet.create_base_model(name, stem_noise=noise)


@pytest.mark.parametrize(("outputs", "first"), [(1000, "n01440764"), (512, None)])
def test_a_timm_name(monkeypatch, outputs, first):
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        model = nn.Linear(2, outputs)
        model.num_classes = outputs
        model.pretrained_cfg = {"mean": (0.5,), "std": (0.5,), "input_size": (3, 160, 160)}
        return model

    monkeypatch.setattr("timm.create_model", create)
    loaded = load_model("timm/resnet10t")
    assert (loaded.name, loaded.image_size) == ("resnet10t", 160)
    assert asked == [("resnet10t", True)]
    assert loaded.model.classes is None if first is None else loaded.model.classes[0] == first
    assert load_model("untrained/timm/resnet10t").model.classes is None


def test_published_models_know_imagenets_classes(tmp_path, monkeypatch):
    model = vonenet.create_model("voneresnet_small", image_size=32, simple_channels=4)
    monkeypatch.setattr("vonenet.zoo.registry.fetch", lambda _: None)
    monkeypatch.setattr("vonenet.zoo.registry.load_checkpoint", lambda _, **__: model)
    assert load_model("voneresnet50").model.classes == tuple(imagenet_ids())


FRESH = "untrained/voneresnet_small?image_size=32"


@pytest.mark.parametrize(
    "address",
    ["untrained/voneresnet18", "untrained/timm/resnet10t", f"ensemble:{FRESH}+{FRESH}&seed=1"],
)
def test_untrained_models_are_named_so_and_have_the_same_weights_each_time(address):
    before = torch.get_rng_state()
    one, other = load_model(address), load_model(address)
    assert one.name == address.removeprefix("ensemble:")  # what rows and pages call it
    for key, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, other.model.state_dict()[key], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_address_says_settings_of_a_fresh_network():
    address = "untrained/voneresnet_small?front_end=evnet2025&image_size=32&noise=null"
    loaded = load_model(f"{address}&simple_channels=4&complex_channels=4")
    config = loaded.model.model.config
    assert loaded.name.startswith(address)  # rows name the front-end
    assert (config.front_end, config.v1.noise, config.v1.simple_channels) == ("evnet2025", None, 4)
    assert loaded.image_size == 32
    assert (loaded.model.mean.tolist(), loaded.model.std.tolist()) == ([[[0.0]]] * 3, [[[1.0]]] * 3)
    assert preprocessing_text(loaded.model, (32, 32)).endswith("32 px, front-end evnet2025")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "voneresnet5o",
            "unknown model 'voneresnet5o'; nearest: voneresnet50.* or a weights file",
        ),
        ("voneresnet18", "no weights are published for voneresnet18"),
        ("missing.pth", "no weights file missing.pth"),
        ("no_such_module_here:load", "module 'no_such_module_here' cannot be imported"),
        ("no_such_file.py:load", "no Python file no_such_file.py"),
        ("toy_models_of_a_test:absent", "toy_models_of_a_test has no function 'absent'"),
        ("toy_models_of_a_test:nothing", "returns a int; needed: a torch module"),
        (
            "toy_models_of_a_test:plain",
            "does not say how .* needed: vonenet.data.PixelModel\\(model,",
        ),
        ("toy_models_of_a_test:named_by_text", "does not say how"),
        ("toy_models_of_a_test:broken", "test.py:[0-9]+: ValueError: two lines$"),
        ("toy_models_of_a_test.py:broken", "test.py:[0-9]+: ValueError: two lines$"),
        ("half_written.py:load", "half_written.py:load fails at .*: SyntaxError: "),
        ("toy_models_of_a_test:of_bytes", "are of pixels from 0 to 255; here .*mean=.0.4851"),
        ("toy_models_of_a_test:of_torchvision", "torchvision's are nearly all \\(0.485, 0.456"),
        ("untrained/voneresnet5o", "unknown model 'voneresnet5o'; nearest: voneresnet50"),
        ("untrained/voneresnet18?front_end=evnet", "unknown front-end 'evnet'; nearest: evnet2025"),
        ("untrained/voneresnet18?frontend=x", "unknown setting 'frontend'"),
        ("untrained/voneresnet18?image_size=x", "image_size"),
        ("untrained/timm/no_such", "timm has no model 'no_such' to give"),
        ("timm/no_such_network", "timm has no trained model 'no_such_network' to give"),
    ],
)
def test_an_address_that_leads_nowhere(toy, address, message):
    with pytest.raises(InputError, match=message):
        load_model(address)

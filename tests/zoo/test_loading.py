"""Models by address: each kind of address, and one line for each that leads nowhere."""

import pytest
import torch
from torch import nn

import vonenet
from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.zoo.loading import load_model

TOY = """
from torch import nn
from vonenet.data import PixelModel

def plain():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))

def wrapped():
    return PixelModel(plain(), 0.4, 0.2)

def described():
    model = plain()
    model.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.3,), "std": (0.7,)}
    return model

def nothing():
    return 3
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_models_of_a_test.py").write_text(TOY)
    return "toy_models_of_a_test"


@pytest.mark.parametrize("suffix", ["", ".py"])
@pytest.mark.parametrize(
    ("function", "mean", "std", "size", "channels"),
    [("plain", 0.0, 1.0, 224, 3), ("wrapped", 0.4, 0.2, 224, 3), ("described", 0.3, 0.7, 32, 1)],
)
def test_a_function_of_a_module_or_file(toy, suffix, function, mean, std, size, channels):
    loaded = load_model(f"{toy}{suffix}:{function}")
    assert (loaded.name, loaded.image_size, loaded.in_chans) == (function, size, channels)
    assert isinstance(loaded.model, PixelModel)
    assert not loaded.model.training
    assert float(loaded.model.mean) == pytest.approx(mean)
    assert float(loaded.model.std) == pytest.approx(std)


def test_a_weights_file_brings_its_preprocessing(tmp_path):
    model = vonenet.create_model(
        "voneresnet_small", image_size=32, num_classes=3, simple_channels=4, complex_channels=4
    )
    vonenet.save_checkpoint(model, tmp_path / "mine.safetensors")
    before = torch.get_rng_state()
    loaded = load_model(str(tmp_path / "mine.safetensors"))
    assert torch.equal(torch.get_rng_state(), before)
    assert (loaded.name, loaded.image_size) == ("mine", 32)
    pixels = torch.rand(2, 3, 32, 32)
    with vonenet.no_noise(loaded.model), vonenet.no_noise(model), torch.no_grad():
        torch.testing.assert_close(loaded.model(pixels), model.eval()(2 * pixels - 1))


def test_a_timm_name(monkeypatch):
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return nn.Identity()

    monkeypatch.setattr("timm.create_model", create)
    assert load_model("timm/resnet10t").name == "resnet10t"
    assert asked == [("resnet10t", True)]


@pytest.mark.parametrize("address", ["untrained/voneresnet18", "untrained/timm/resnet10t"])
def test_untrained_models_have_the_same_weights_each_time(address):
    before = torch.get_rng_state()
    one, other = load_model(address), load_model(address)
    assert one.name == address
    for key, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, other.model.state_dict()[key], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


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
        ("untrained/voneresnet5o", "unknown model 'voneresnet5o'; nearest: voneresnet50"),
        ("untrained/timm/no_such", "timm has no model 'no_such' to give"),
        ("timm/no_such_network", "timm has no trained model 'no_such_network' to give"),
    ],
)
def test_an_address_that_leads_nowhere(toy, address, message):
    with pytest.raises(InputError, match=message):
        load_model(address)

"""Fine-tuning's start: every source of weights fills the back-end, and nothing else does."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

import vonenet
from vonenet.data import PixelModel
from vonenet.errors import CheckpointError, DownloadError, InputError
from vonenet.zoo.backbone_weights import find_weights

FEW = {"simple_channels": 4, "complex_channels": 4, "image_size": 64}


def stored(path, weights):
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def disturbed(network):
    """A network's weights with statistics that no fresh network has."""
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return dict(network.state_dict())


def assert_filled(back_end, weights, but=()):
    for name, value in back_end.state_dict().items():
        is_same = value.shape == weights[name].shape and torch.equal(value, weights[name])
        assert is_same != name.startswith(but or ("no such name",)), name


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(5)
    return disturbed(torchvision.models.resnet18())


def test_torchvision_and_timm_are_asked_for_their_own_weights(monkeypatch, resnet18):
    asked = []
    monkeypatch.setattr(
        torchvision.models._api,
        "load_state_dict_from_url",
        lambda url, *_, **__: asked.append(url) or resnet18,
    )
    monkeypatch.setattr(
        timm.models._builder,
        "load_state_dict_from_hf",
        lambda place, *_, **__: asked.append(place) or dict(resnet18),
    )
    for source in ("torchvision", "timm", "timm:tv_in1k"):
        model = vonenet.create_model("voneresnet18", backbone_weights=source, **FEW)
        assert_filled(model.model, resnet18)
        base = vonenet.create_base_model("voneresnet18", backbone_weights=source, image_size=64)
        assert_filled(base, resnet18)
    assert ["resnet18-f37072fd" in str(each) for each in asked] == [True] * 2 + [False] * 4
    assert asked[4] == "timm/resnet18.tv_in1k"
    model = vonenet.create_model("vone_resnet18", backbone_weights="timm", num_classes=7, **FEW)
    assert_filled(model.model, resnet18, but=("fc.",))
    assert model.model.fc.out_features == 7


def test_every_kind_of_file_is_read_and_v1_and_bottleneck_stay_as_they_were(tmp_path, resnet18):
    torch.save(resnet18, tmp_path / "plain.pth")
    parallel = {f"module.{name}": value for name, value in resnet18.items()}
    torch.save({"state_dict": parallel, "epoch": 3}, tmp_path / "training.pth.tar")
    torch.save({"model": resnet18}, tmp_path / "model.pt")
    base = vonenet.create_base_model("voneresnet18")
    base.load_state_dict(resnet18)
    stored(tmp_path / "pixels.safetensors", PixelModel(base, 0.5, 0.5).state_dict())
    old = {name: v for name, v in resnet18.items() if not name.endswith("num_batches_tracked")}
    stored(tmp_path / "old.safetensors", old)
    torch.manual_seed(1)
    fresh = vonenet.create_model("voneresnet18", **FEW).state_dict()
    for path in sorted(tmp_path.iterdir()):
        torch.manual_seed(1)
        model = vonenet.create_model("voneresnet18", backbone_weights=path, **FEW)
        assert_filled(model.model, resnet18)
        for name, value in model.state_dict().items():
            assert name.startswith("model.") or torch.equal(value, fresh[name]), name


def test_a_vonenets_file_gives_its_back_end(tmp_path):
    other = vonenet.create_model(
        "voneresnet18", image_size=64, num_classes=9, simple_channels=8, complex_channels=8
    )
    disturbed(other.model)
    vonenet.save_checkpoint(other, tmp_path / "ours.safetensors")
    for source in (tmp_path / "ours.safetensors", tmp_path / "wrapped.pth"):
        if source.name == "wrapped.pth":
            torch.save(PixelModel(other, 0.5, 0.5).state_dict(), source)
        model = vonenet.create_model("voneresnet18", backbone_weights=source, num_classes=9, **FEW)
        assert_filled(model.model, other.model.state_dict())
        assert model.bottleneck.weight.shape[1] == 8


@pytest.mark.parametrize(
    ("name", "fresh"),
    [
        ("vonecornet_s", ("decoder.linear.",)),
        ("voneresnet_small", ("fc.",)),
        ("vone_test_efficientnet", ("classifier.",)),
        ("vone_test_convnext", ("head.fc.",)),
        ("vone_test_vit", ("patch_embed.proj.", "head.")),
    ],
)
def test_of_every_kind_of_network_only_head_and_first_stage_are_new(tmp_path, name, fresh):
    size = {"image_size": 160 if "vit" in name else 64}
    base = vonenet.create_base_model(name, num_classes=6, **size)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.uniform_()  # no bias is left at the 0 that it would have anyway
    weights = disturbed(base)
    path = stored(tmp_path / "base.safetensors", weights)
    model = vonenet.create_model(name, backbone_weights=path, num_classes=3, **{**FEW, **size})
    assert_filled(model.model, weights, but=fresh)
    again = vonenet.create_base_model(name, backbone_weights=path, num_classes=6, **size)
    assert_filled(again, weights)


def test_position_embeddings_of_timm_are_resampled(monkeypatch):
    weights = timm.create_model("test_vit").state_dict()
    monkeypatch.setattr(
        timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: dict(weights)
    )
    large = {**FEW, "image_size": 192}
    model = vonenet.create_model("vone_test_vit", backbone_weights="timm", **large)
    expected = timm.create_model("test_vit", img_size=192, pretrained=True)
    assert model.model.pos_embed.shape != weights["pos_embed"].shape
    assert torch.equal(model.model.pos_embed, expected.pos_embed)


def test_alexnets_classifier_sees_seven_positions_as_six(tmp_path):
    whole = torchvision.models.alexnet(num_classes=8).eval()
    path = stored(tmp_path / "alexnet.safetensors", whole.state_dict())
    model = vonenet.create_model("vonealexnet", backbone_weights=path, num_classes=8, **FEW)
    back_end = model.model.eval()
    convolutions = [m for m in whole.features if isinstance(m, nn.Conv2d)][1:]
    ours = [m for m in back_end.features if isinstance(m, nn.Conv2d)]
    for one, other in zip(ours, convolutions, strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)
    features = torch.rand(2, 256, 7, 7)
    expected = whole.classifier(adaptive_avg_pool2d(features, 6).flatten(1))
    assert torch.allclose(back_end.classifier(features.flatten(1)), expected, atol=1e-5)


@pytest.mark.parametrize(("stored_for", "asked_for"), [(3, 1), (1, 3)])
def test_a_base_network_sees_grey_as_its_weights_saw_the_colour_copy(
    tmp_path, stored_for, asked_for
):
    settings = {"num_classes": 4, "image_size": 32}
    first = vonenet.create_base_model("voneresnet_small", in_chans=stored_for, **settings)
    path = stored(tmp_path / "base.safetensors", first.state_dict())
    other = vonenet.create_base_model(
        "voneresnet_small", in_chans=asked_for, backbone_weights=path, **settings
    )
    grey = torch.rand(2, 1, 32, 32)
    of_first, of_other = (grey.expand(-1, channels, -1, -1) for channels in (stored_for, asked_for))
    assert torch.allclose(other.conv1(of_other), first.conv1(of_first), atol=1e-5)


def test_one_of_several_weights_can_be_named(monkeypatch):
    monkeypatch.setattr(
        torchvision.models._api, "load_state_dict_from_url", lambda url, *_, **__: {"url": url}
    )
    for source, file in [
        ("torchvision", "resnet50-11ad3fa6"),
        ("torchvision:IMAGENET1K_V1", "resnet50-0676ba61"),
    ]:
        assert file in find_weights(source, "resnet50", 1000, (224, 224))["url"]


def test_weights_of_another_network_are_refused_in_one_line(tmp_path, resnet18):
    """A ResNet-34 holds every tensor of a ResNet-18, in the same shapes, and more."""
    deeper = stored(tmp_path / "deeper.safetensors", torchvision.models.resnet34().state_dict())
    words = r"^backbone_weights='.*' do not fit the back-end of "
    with pytest.raises(CheckpointError, match=words):
        vonenet.create_model("voneresnet18", backbone_weights=deeper, **FEW)
    wider = {**resnet18, "layer1.0.conv1.weight": torch.zeros(64, 64, 5, 5)}
    wider = stored(tmp_path / "wider.safetensors", wider)
    words = r"layer1.0.conv1.weight has shape \(64, 64, 5, 5\) instead of \(64, 64, 3, 3\)"
    for create in (vonenet.create_model, vonenet.create_base_model):
        with pytest.raises(CheckpointError, match=words):
            create("voneresnet18", backbone_weights=wider)
    part = {name: v for name, v in resnet18.items() if name != "layer4.1.conv2.weight"}
    part = stored(tmp_path / "part.safetensors", part)
    with pytest.raises(CheckpointError, match=r"layer4.1.conv2.weight is missing$"):
        vonenet.create_model("voneresnet18", backbone_weights=part, **FEW)
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{nothing")
    for name, words in [("list.pth", "no state dict"), ("text.safetensors", "is damaged")]:
        with pytest.raises(CheckpointError, match=words):
            vonenet.create_model("voneresnet_small", backbone_weights=tmp_path / name, **FEW)


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("voneresnet18", "torchvison", "'torchvison' is no file; allowed: 'timm', 'torchvision'"),
        ("voneresnet18", 7, "'7' is no file"),
        ("voneresnet18", "timm:mine", "'timm:mine': timm's weights of resnet18 are a1_in1k"),
        ("voneresnet18", "torchvision:V3", "torchvision's weights of resnet18 are IMAGENET1K_V1"),
        ("vonealexnet", "timm", "timm publishes no weights of alexnet; allowed: a weights file"),
        ("vonecornet_s", "torchvision", "torchvision publishes no weights of cornet_s"),
    ],
)
def test_sources_that_do_not_exist_are_refused(name, source, words):
    with pytest.raises(InputError, match=words):
        vonenet.create_model(name, backbone_weights=source, **FEW)


def test_weights_that_cannot_be_fetched_are_said_to_be_so(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)
    with pytest.raises(
        DownloadError, match=r"weights of resnet18 could not be fetched: no route to host$"
    ):
        vonenet.create_base_model("voneresnet18", backbone_weights="torchvision")


def test_two_kinds_of_weights_contradict_each_other():
    with pytest.raises(InputError, match="backbone_weights='timm' contradicts pretrained"):
        vonenet.create_model("voneresnet50", pretrained=True, backbone_weights="timm")
    with pytest.raises(InputError, match="contradicts checkpoint='a.safetensors'"):
        vonenet.create_model("voneresnet50", checkpoint="a.safetensors", backbone_weights="timm")

"""Ensembles: averages at their place, draws for one pass, attacks, fixed noise, addresses."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vonenet
from vonenet import Ensemble, cli, fixed_noise, no_noise
from vonenet.data import PixelModel, inner_model, open_dataset
from vonenet.identity import model_hash
from vonenet.results import read_jsonl
from vonenet.robustness.sampling import averaged_gradient, two_stages
from vonenet.zoo.loading import load_model, visual_degrees_of

TINY = {"image_size": 32, "simple_channels": 4, "complex_channels": 4, "num_classes": 5}
pytestmark = pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")


def variant(seed=0, **settings):
    torch.manual_seed(seed)
    return vonenet.create_model("voneresnet_small", seed=seed, **TINY, **settings).eval()


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 32, 32)


def normalised(pixels):
    return 2 * pixels - 1


def test_logits_of_variants_are_averaged(pixels):
    """Each member's images are normalised as it wants them."""
    members = variant(0), variant(1), variant(2, front_end="evnet2025")
    ensemble = Ensemble(members).eval()
    with no_noise(ensemble):
        expected = members[0](normalised(pixels)) + members[1](normalised(pixels))
        expected = (expected + members[2](pixels)) / 3
        torch.testing.assert_close(ensemble(pixels), expected)
    assert ensemble.pretrained_cfg["mean"] == (0, 0, 0)
    assert ensemble.pretrained_cfg["input_size"] == (3, 32, 32)


def test_one_back_end_decides_on_averaged_bottlenecks(pixels):
    members = variant(0), variant(1)
    ensemble = Ensemble(members, at="bottleneck").eval()
    with fixed_noise(ensemble, 0):
        maps = [m.bottleneck(m.vone_block(normalised(pixels))) for m in members]
        torch.testing.assert_close(ensemble(pixels), members[0].model((maps[0] + maps[1]) / 2))


@pytest.mark.parametrize("draws", [1, 2, 4, 8])
@pytest.mark.parametrize("at", ["bottleneck", "logits"])
def test_draws_of_one_model_are_averaged(pixels, at, draws):
    model = variant()
    ensemble = Ensemble([model], at=at, draws=draws).eval()
    torch.manual_seed(1)
    found = ensemble(pixels)
    torch.manual_seed(1)
    mean = model.vone_block.mean_response(normalised(pixels))
    responses = [model.vone_block.respond(mean) for _ in range(draws)]
    if at == "bottleneck":
        expected = model.model(torch.stack([model.bottleneck(r) for r in responses]).mean(0))
    else:
        expected = torch.stack([model.logits_from_v1(r) for r in responses]).mean(0)
    torch.testing.assert_close(found, expected)
    with fixed_noise(ensemble, 0), fixed_noise(model, 0):
        torch.testing.assert_close(ensemble(pixels), model(normalised(pixels)))


def test_averaged_embeddings_give_averaged_logits(pixels):
    """Why there is no third place: a classifier is linear."""
    model, seen = variant(), []
    head = model.get_submodule(model.head_name)
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = Ensemble([model], draws=4).eval()(pixels)
    torch.testing.assert_close(found, head(torch.stack(seen).mean(0)))


def test_filters_run_once_for_any_number_of_draws(pixels):
    model, passes = variant(), []
    model.vone_block.simple.register_forward_hook(lambda *_: passes.append(1))
    pixel_model = PixelModel(Ensemble([model], draws=8), 0.0, 1.0)
    averaged_gradient(pixel_model.eval(), pixels, torch.zeros(3, dtype=torch.long), samples=4)
    assert len(passes) == 1


@pytest.mark.parametrize("at", ["bottleneck", "logits"])
@pytest.mark.parametrize("number", [1, 2])
def test_attacks_follow_the_gradient_of_the_average(pixels, at, number):
    ensemble = Ensemble([variant(seed) for seed in range(number)], at=at, draws=2).eval()
    labels = torch.tensor([0, 1, 2])
    with fixed_noise(ensemble, 0):
        pixels.requires_grad_()
        loss = torch.nn.functional.cross_entropy(ensemble(pixels), labels, reduction="sum")
        (expected,) = torch.autograd.grad(loss, pixels)
        found = averaged_gradient(ensemble, pixels, labels, samples=3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    before, after = two_stages(ensemble)
    assert after(before(pixels)).shape == (3, 5)


def test_an_address_lists_the_members(tmp_path, pixels):
    for seed in (0, 1):
        vonenet.save_checkpoint(variant(seed), tmp_path / f"{seed}.safetensors")
    files = [str(tmp_path / f"{seed}.safetensors") for seed in (0, 1)]
    loaded = load_model("ensemble:" + "+".join(files))
    assert (loaded.name, loaded.image_size, loaded.in_chans) == ("0+1", 32, 3)
    singles = [load_model(file).model for file in files]
    with fixed_noise(loaded.model, 0), fixed_noise(singles[0], 0), fixed_noise(singles[1], 0):
        expected = (singles[0](pixels) + singles[1](pixels)) / 2
        torch.testing.assert_close(loaded.model(pixels), expected)


def three(at):
    """Two variants, and beside their logits a third from other pixels, with trainable filters."""
    members = [variant(0), variant(1, filters="legacy", noise="gaussian")]
    if at == "logits":
        members.append(variant(2, front_end="evnet2025", trainable=True))
    names = "ant", "bee", "cow", "dog", "emu"
    return [PixelModel(members[0], 0.5, 0.5, classes=names), *members[1:]]


@pytest.mark.parametrize("draws", [1, 2, 4, 8])
@pytest.mark.parametrize("at", ["bottleneck", "logits"])
def test_a_file_gives_the_same_ensemble(tmp_path, pixels, at, draws):
    ensemble = Ensemble(three(at), at=at, draws=draws).eval()
    ensemble.save(tmp_path / "e.safetensors")
    loaded = load_model(str(tmp_path / "e.safetensors"))
    again = loaded.model.model
    assert (loaded.name, loaded.image_size, loaded.in_chans) == ("e", 32, 3)
    assert loaded.model.classes == ("ant", "bee", "cow", "dog", "emu")
    assert visual_degrees_of(loaded) == again.members[0].model.visual_degrees != 8
    assert ("front_end" in again.pretrained_cfg) == (at == "bottleneck")  # if it is one
    assert (again.at, again.draws, again.pretrained_cfg) == (at, draws, ensemble.pretrained_cfg)
    assert model_hash(again) == model_hash(ensemble)
    for one, other in zip(again.members, ensemble.members, strict=True):
        assert one.model.config == other.model.config
    with fixed_noise(again, 0), fixed_noise(ensemble, 0):
        assert torch.equal(loaded.model(pixels), ensemble(pixels))
    torch.manual_seed(1)
    expected = ensemble(pixels)
    torch.manual_seed(1)
    assert torch.equal(loaded.model(pixels), expected)


def test_its_identity_is_that_of_its_members_and_of_how_they_are_combined():
    def changed():
        members = three("bottleneck")
        with torch.no_grad():
            members[1].bottleneck.weight[0, 0] += 1e-3
        return members

    def louder():
        members = three("bottleneck")
        members[1].vone_block.noise_scale = 0.4
        return members

    same = three("bottleneck")
    ensembles = [
        *(Ensemble(same, at=at, draws=n) for at in ("bottleneck", "logits") for n in (1, 2)),
        Ensemble(same[::-1], at="bottleneck"),
        Ensemble(same[:1], at="bottleneck"),
        Ensemble(changed(), at="bottleneck"),
        Ensemble(louder(), at="bottleneck"),
    ]
    assert len(set(map(model_hash, ensembles))) == len(ensembles)
    wrapped = [PixelModel(model, 0.5, 0.5) for model in map(inner_model, same)]
    assert model_hash(Ensemble(wrapped, at="bottleneck")) == model_hash(ensembles[0])


def test_commands_take_a_file(tmp_path, capsys):
    """Without noise, so that what they say is a softmax of averaged logits."""
    members = [variant(seed, noise=None) for seed in (0, 1)]
    Ensemble(members).save(tmp_path / "e.safetensors")
    for label in "abcde":
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(2):
            path = tmp_path / "data" / label / f"{i}.png"
            torch.manual_seed(ord(label) + i)
            Image.fromarray(torch.randint(256, (32, 32, 3)).byte().numpy()).save(path)
    data = open_dataset(str(tmp_path / "data"), image_size=32)
    shown = torch.stack([data[i][0] for i in range(10)])
    with torch.no_grad():
        logits = (members[0](normalised(shown)) + members[1](normalised(shown))) / 2
    cli.main(["predict", str(tmp_path / "e.safetensors"), str(tmp_path / "data"), "--json"])
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    found = {Path(line["image"]): line["classes"] for line in lines}
    assert len(found) == 10
    for index, expected in enumerate(logits.softmax(1).tolist()):
        for choice in found[Path(data.describe(index))]:
            assert choice["probability"] == pytest.approx(expected[choice["output"]], abs=1e-5)
    words = ["evaluate", str(tmp_path / "e.safetensors"), "--data", str(tmp_path / "data")]
    words += ["--out", str(tmp_path / "out"), "--limit", "10", "--no-audit", "--quiet"]
    cli.main(words)
    rows = read_jsonl(tmp_path / "out" / "results.jsonl")
    (clean,) = (row for row in rows if row.condition == {"decision_samples": 1})
    labels = torch.tensor([data[i][1] for i in range(10)])
    assert clean.value == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    ensemble = PixelModel(Ensemble(members), (0.0,) * 3, (1.0,) * 3)
    assert {row.model_hash for row in rows} == {model_hash(ensemble)}


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (lambda: [model := variant(), model], "share parts"),
        (lambda: [PixelModel(variant(), 0.4, 0.5)], "model 0 .* normalises .* otherwise"),
        (lambda: [PixelModel(torch.nn.Flatten(), 0.5, 0.5)], "model 0 .* normalises"),
        (lambda: [load_model("untrained/timm/resnet10t").model], "a ResNet is no VOneNet"),
    ],
)
def test_what_a_file_could_not_give_again_is_not_saved(tmp_path, models, said):
    with pytest.raises(vonenet.InputError, match=said):
        Ensemble(models()).save(tmp_path / "e.safetensors")
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    """Change the header and the weights of a file of an ensemble."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    described, weights = json.loads(header["ensemble"]), load_file(path)
    change(described, weights)
    save_file(weights, path, header | {"ensemble": json.dumps(described)})


@pytest.mark.parametrize(
    "change",
    [
        lambda said, _: said["members"].pop(),
        lambda said, _: said["members"].append("x"),
        lambda said, _: said.pop("draws"),
        lambda said, _: said.update(at="embedding"),
        lambda said, _: said.update(draws=-1),
        lambda said, _: said.update(members=7),
        lambda said, _: said["members"][0].update(format="vonenet-9"),
        lambda said, _: said["members"][1].update(config="{}"),
        lambda said, _: said["members"][1].update(classes='["one"]'),
        lambda _, weights: weights.pop("1.bottleneck.weight"),
        lambda _, weights: weights.update(x=torch.ones(1)),
        lambda _, weights: weights.update({"0.bottleneck.weight": torch.ones(1)}),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change):
    path = tmp_path / "e.safetensors"
    Ensemble(three("logits")).save(path)
    rewritten(path, change)
    with pytest.raises(vonenet.CheckpointError) as error:
        load_model(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_another_file_is_no_ensemble_and_an_ensemble_no_vonenet(tmp_path):
    vonenet.save_checkpoint(variant(), tmp_path / "a.safetensors")
    Ensemble([variant()]).save(tmp_path / "e.safetensors")
    for name in ("a.safetensors", "none.safetensors"):
        with pytest.raises(vonenet.CheckpointError, match=f"{name} is not there, or no file of an"):
            Ensemble.load(tmp_path / name)
    with pytest.raises(vonenet.CheckpointError, match="its format is 'vonenet-ensemble-1', not"):
        vonenet.load_checkpoint(tmp_path / "e.safetensors")
    with pytest.raises(vonenet.InputError, match="a Ensemble is no VOneNet"):
        vonenet.save_checkpoint(Ensemble([variant()]), tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("members", "settings", "said"),
    [
        (0, {}, "an ensemble needs models, got none"),
        (1, {"at": "embedding"}, "at must be bottleneck or logits, got 'embedding'"),
        (1, {"draws": 0}, "draws must be a whole number from 1"),
        (2, {}, "the models have other numbers of classes: 5 and 7"),
        ("base", {"at": "bottleneck"}, "has no bottleneck"),
        ("bare", {}, "does not say how its images are normalised"),
    ],
)
def test_what_does_not_fit_is_refused(members, settings, said):
    models = [variant()] if members == 1 else []
    if members == 2:
        other = vonenet.create_model("voneresnet_small", **{**TINY, "num_classes": 7})
        models = [variant(), other]
    if isinstance(members, str):
        base = vonenet.create_base_model("voneresnet_small", num_classes=5)
        models = [PixelModel(base, 0.5, 0.5)] if members == "base" else [torch.nn.Identity()]
    with pytest.raises(vonenet.InputError, match=said):
        Ensemble(models, **settings)

"""Ensembles: averages at their place, draws for one pass, attacks, fixed noise, addresses."""

import pytest
import torch

import vonenet
from vonenet import Ensemble, fixed_noise, no_noise
from vonenet.data import PixelModel
from vonenet.robustness.sampling import averaged_gradient, two_stages
from vonenet.zoo.loading import load_model

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

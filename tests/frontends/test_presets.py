"""What every front-end promises: one function per promise, over all presets by name."""

import copy
import pickle
import threading
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from vonenet.data import PixelModel
from vonenet.frontends.presets import PRESETS
from vonenet.identity import model_hash
from vonenet.model import VOneNet
from vonenet.physiology import Subject
from vonenet.physiology.layers import outputs_of
from vonenet.physiology.predictivity import before_noise
from vonenet.physiology.stimuli import Canvas, Grating, render
from vonenet.robustness import averaged_gradient, averaged_probabilities, pgd
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.noise import Noise, fixed_noise, no_noise
from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint
from vonenet.zoo.ensemble import Ensemble
from vonenet.zoo.registry import create_front_end, create_model

CELLS, CLASSES, SEED = 8, 3, 5


def small(name: str) -> dict[str, object]:
    """Settings of a small network: few cells of each type that a preset has, and few pixels.

    At 64 pixels a preset that says its degrees would alias.
    """
    v1 = VOneBlockConfig(**PRESETS[name].v1)
    cells = {
        key: CELLS if getattr(v1, key) else 0 for key in ("simple_channels", "complex_channels")
    }
    return {**cells, "image_size": 64 if v1.visual_degrees is None else 224}


def build(name: str) -> VOneNet:
    torch.manual_seed(0)
    with warnings.catch_warnings():  # of few pixels per degree
        warnings.simplefilter("ignore")
        return create_model(
            "voneresnet_small", front_end=name, num_classes=CLASSES, **small(name)
        ).eval()


def images_for(model: nn.Module, batch: int = 2, seed: int = 1) -> torch.Tensor:
    """Pixels in [0, 1], normalised as the model's front-end wants them."""
    generator = torch.Generator().manual_seed(seed)
    (mean, std), side = model.front_end.normalization, model.image_size
    return (torch.rand(batch, 3, side, side, generator=generator) - mean) / std


def attackable(model: VOneNet) -> PixelModel:
    described = model.pretrained_cfg
    return PixelModel(model, described["mean"], described["std"]).eval()


def answers(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits without noise, and with one draw."""
    with torch.no_grad(), no_noise(model):
        silent = model(images)
    with torch.no_grad(), fixed_noise(model, SEED):
        return silent, model(images)


def assert_same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module", params=PRESETS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def built(name: str) -> VOneNet:
    """One model for the tests that leave it as it is."""
    return build(name)


def test_says_what_it_is(name: str, built: VOneNet) -> None:
    preset = PRESETS[name]
    assert preset.summary
    assert preset.paper
    assert built.config.front_end == name
    assert built.config.before_v1 == preset.before_v1
    adapts = any(getattr(stage, "light_adaptation", None) for stage in preset.before_v1)
    mean, std = (0.0, 1.0) if adapts else (0.5, 0.5)  # pixels as they are, or around grey
    described = built.pretrained_cfg
    assert (described["mean"], described["std"]) == ((mean,) * 3, (std,) * 3)


def test_gives_finite_responses_of_its_cells(built: VOneNet) -> None:
    images = images_for(built)
    with torch.no_grad():
        responses = built.front_end(images)
        logits = built(images)
    assert responses.shape[:2] == (2, built.vone_block.out_channels)
    assert responses.isfinite().all()
    assert logits.shape == (2, CLASSES)


def test_stands_alone(name: str, built: VOneNet) -> None:
    settings = {**small(name), "stride": built.config.v1.stride}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = create_front_end(name, **settings)
    images = images_for(built)
    assert_same(answers(alone, images), answers(built.front_end, images))


def test_trains_all_but_what_is_fixed(name: str) -> None:
    model = build(name).train()
    fixed = {key: value.clone() for key, value in model.front_end.named_buffers()}
    trained = {key: value.detach().clone() for key, value in model.named_parameters()}
    v1, of_front_end = model.vone_block, {key for key, _ in model.front_end.named_parameters()}
    assert len(of_front_end) == 5 * v1.settings.trainable + 7 * (name == "vonenetdn2022")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        loss = cross_entropy(model(images_for(model, 4)), torch.tensor([0, 1, 2, 0]))
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, value in model.front_end.named_buffers():
        assert torch.equal(value, fixed[key])
    for key, value in model.named_parameters():
        assert value.isfinite().all()
        assert value.grad.abs().max() > 0, key
        assert not torch.equal(value, trained[key]), key


def test_a_file_gives_the_same_model(built: VOneNet, tmp_path) -> None:
    """Also after a change of any number that V1 has, filters and pools included."""
    changed = copy.deepcopy(built)
    kept = dict(changed.vone_block.named_buffers()) | dict(changed.named_parameters())
    with torch.no_grad():
        for value in kept.values():
            value.mul_(1.01) if value.is_floating_point() else None
    for model in (built, changed):
        path = save_checkpoint(model, tmp_path / "w.safetensors") or tmp_path / "w.safetensors"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_checkpoint(path).eval()
        assert loaded.config == model.config
        assert model_hash(loaded) == model_hash(model)
        images = images_for(model)
        assert_same(answers(loaded, images), answers(model, images))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_the_same_model(built: VOneNet, copied) -> None:
    other, images = copied(built), images_for(built)
    assert model_hash(other) == model_hash(built)
    assert_same(answers(other, images), answers(built, images))
    other.noise = None  # of its own
    assert built.noise == built.config.v1.noise


def test_presets_are_different_models() -> None:
    """By their settings, and by the numbers of the filters where these alone differ."""
    hashes = [model_hash(build(name).front_end) for name in PRESETS]
    other = build("vonenet").front_end
    other.vone_block.simple_conv_q0.weight[0, 0, 0, 0] += 1e-6
    assert len({*hashes, model_hash(other)}) == len(PRESETS) + 1


class Both(nn.Module):
    """A model that gives its V1 responses beside its logits."""

    def __init__(self, model: VOneNet) -> None:
        super().__init__()
        self.inner = model
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        responses = images
        for stage in self.inner.stages:
            responses = stage(responses)
        return responses, self.inner.logits_from_v1(responses)


def assert_near(found, expected, share: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (torch.as_tensor(one) - other).abs().max() <= share * other.abs().max()


@pytest.mark.parametrize("switched", [no_noise, partial(fixed_noise, seed=SEED)])
def test_exported_it_gives_the_same(built: VOneNet, switched) -> None:
    images = images_for(built)
    with torch.no_grad(), switched(built):
        exported = torch.export.export(Both(built), (images,)).module()
        assert_near(exported(images), Both(built)(images), 1e-5)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("switched", [no_noise, partial(fixed_noise, seed=SEED)])
def test_an_onnx_runtime_gives_the_same(built: VOneNet, switched, dynamo, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    images, path = images_for(built), tmp_path / "net.onnx"
    with torch.no_grad(), switched(built):
        torch.onnx.export(Both(built), (images,), path, dynamo=dynamo)
        session = runtime.InferenceSession(path)
        found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert_near(found, Both(built)(images), 1e-4)


@pytest.mark.slow
def test_compiled_it_gives_the_same(built: VOneNet) -> None:
    images = images_for(built)
    compiled = torch.compile(built)
    with torch.no_grad(), fixed_noise(built, SEED):
        torch.testing.assert_close(compiled(images), built(images), rtol=1e-3, atol=1e-4)
    torch._dynamo.reset()


def test_averaged_gradient_is_the_mean_of_the_draws(built: VOneNet) -> None:
    model, pixels, labels = (
        attackable(built),
        torch.rand(2, 3, *[built.image_size] * 2),
        torch.tensor([0, 1]),
    )
    torch.manual_seed(SEED)
    found = averaged_gradient(model, pixels, labels, samples=3)
    torch.manual_seed(SEED)
    each = []
    for _ in range(3):
        at = pixels.clone().requires_grad_()
        loss = cross_entropy(model(at), labels, reduction="sum")
        each.append(torch.autograd.grad(loss, at)[0])
    expected = torch.stack(each).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_is_attacked(built: VOneNet) -> None:
    model, pixels, labels = (
        attackable(built),
        torch.rand(2, 3, *[built.image_size] * 2),
        torch.tensor([0, 1]),
    )
    attacked = pgd(model, pixels, labels, norm="linf", epsilon=4 / 255, steps=2, gradient_samples=2)
    assert 0 < (attacked - pixels).abs().max() <= 4 / 255 + 1e-6


def test_fixed_noise_is_the_same_wherever_an_image_stands(built: VOneNet) -> None:
    images, order = images_for(built, 3), [2, 0, 1]
    with torch.no_grad(), fixed_noise(built, SEED):
        together = built.front_end(images)
        torch.testing.assert_close(built.front_end(images[order]), together[order])
        torch.testing.assert_close(built.front_end(images[1:2]), together[1:2])


def test_drawing_from_the_mean_response_is_the_forward_pass(built: VOneNet) -> None:
    images = images_for(built)
    with torch.no_grad():
        torch.manual_seed(SEED)
        whole = built(images)
        torch.manual_seed(SEED)
        assert torch.equal(built.forward_from_mean_response(built.mean_response(images)), whole)


def test_decisions_are_averaged_over_draws(built: VOneNet) -> None:
    """2, 4 and 8 draws, as published: of probabilities in `evaluate`, of logits in an ensemble."""
    model, pixels = attackable(built), torch.rand(2, 3, *[built.image_size] * 2)
    with torch.no_grad():
        torch.manual_seed(SEED)
        whole = torch.stack([model(pixels) for _ in range(8)])
        for draws in (2, 4, 8):
            torch.manual_seed(SEED)
            found = averaged_probabilities(model, pixels, draws)
            torch.testing.assert_close(found, whole[:draws].softmax(-1).mean(0))
            torch.manual_seed(SEED)
            found = Ensemble([built], draws=draws)(pixels)
            torch.testing.assert_close(found, whole[:draws].mean(0))


@pytest.mark.parametrize("pixels", [64, 224])
def test_recorded_units_respond_as_the_front_end_does(built: VOneNet, pixels: int) -> None:
    """A recording computes crops where it can."""
    canvas = Canvas(built.visual_degrees * pixels / built.image_size, pixels)
    stimuli = [
        Grating(
            orientation_deg=25 * i, frequency_cpd=0.7 * 1.5 ** (i % 7), contrast=1 / (1 + i % 3)
        )
        for i in range(14)
    ]
    subject = Subject(attackable(built), "vone_block", canvas, mean_response=True)
    (mean, std), shown = built.front_end.normalization, render(stimuli, canvas)
    with torch.no_grad(), no_noise(built):
        whole = built.front_end((shown - mean) / std)[:, *subject.units.T]
    assert_near([subject.mean_response(stimuli)], [whole], 2e-5)


@pytest.mark.parametrize(
    ("pixels", "side", "colour"),
    [(64, 16, 0.5), (64, 16, 0.0), pytest.param(224, 112, 0.5, marks=pytest.mark.slow)],
)
def test_images_on_a_margin_are_computed_as_whole_ones(built, pixels, side, colour) -> None:
    """After a blank and a faint one, at which cells see less far."""
    margin, generator = (pixels - side) // 2, torch.Generator().manual_seed(2)
    images = torch.full((4, 3, pixels, pixels), colour)
    middle = images[..., margin : margin + side, margin : margin + side]
    fine = torch.rand(2, 3, side, side, generator=generator)
    coarse = torch.rand(2, 3, 4, 4, generator=generator)
    middle[1] += fine[0] / 255
    middle[2:] = torch.nn.functional.interpolate(coarse, size=side)
    middle[3] = (middle[3] + fine[1]) / 2
    model = attackable(built)
    whole, cropped = (before_noise(model, ["vone_block"], px) for px in (0, margin))
    for image in images.split(1):
        with torch.no_grad():
            (expected,), (found,) = (
                outputs_of(each, ["vone_block"], image).values() for each in (whole, cropped)
            )
        assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()  # rounding


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (97, 130)])
def test_the_fastest_way_gives_what_dense_convolutions_give(built, size, monkeypatch) -> None:
    """At sizes that are cut into tiles in different ways; pull filters are twice as wide."""
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    model = attackable(built)
    with torch.no_grad(), no_noise(built):
        found = model(pixels), built.front_end(model.normalise(pixels))
        monkeypatch.setattr("vonenet.v1.filterbank.fastest_way", lambda *_: "convolution")
        expected = model(pixels), built.front_end(model.normalise(pixels))
    assert not torch.equal(found[1], expected[1]) or built.vone_block.gabor_bank
    assert_near(found, expected, 1e-5)


def test_threads_do_not_share_switches(built: VOneNet) -> None:
    images, seen, inside = images_for(built), {}, threading.Barrier(2)

    def silent() -> None:
        with torch.no_grad(), no_noise(built):
            inside.wait()
            seen["silent"] = built(images)
            inside.wait()

    def fixed() -> None:
        with torch.no_grad(), fixed_noise(built, SEED):
            inside.wait()
            seen["fixed"] = built(images)
            inside.wait()

    threads = [threading.Thread(target=each) for each in (silent, fixed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same((seen["silent"], seen["fixed"]), answers(built, images))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gradients_are_finite_on_uniform_images(built: VOneNet, level: float) -> None:
    pixels = torch.full((1, 3, *[built.image_size] * 2), level, requires_grad=True)
    responses = built.front_end(
        (pixels - built.front_end.normalization[0]) / built.front_end.normalization[1]
    )
    (gradient,) = torch.autograd.grad(responses.square().sum(), pixels)
    assert responses.isfinite().all()
    assert gradient.isfinite().all()


def test_noise_of_all_stages_is_switched(name: str) -> None:
    model, images = build(name), None
    images = images_for(model)
    silent, noisy = answers(model, images)
    stages = [module for module in model.modules() if isinstance(module, Noise)]
    modes, mode = [each.mode for each in stages], model.noise
    model.noise = None
    assert not any(each.mode for each in stages)
    with torch.no_grad():
        assert torch.equal(model(images), silent)
    model.noise = mode
    assert [each.mode for each in stages] == modes
    assert torch.equal(answers(model, images)[1], noisy)
    model.noise = "neuronal"
    assert model.vone_block.noise.mode == "neuronal"
    assert [each.mode for each in stages[:-1]] == modes[:-1]

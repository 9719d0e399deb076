"""Divisive normalisation: its formulas by naive loops, its place in V1, files, export."""

import copy
import dataclasses
import io
import json
import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter1d

from vonenet.errors import InputError
from vonenet.model import VOneNet, VOneNetConfig
from vonenet.results import model_hash
from vonenet.training.optim import layer_numbers
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.normalization import (
    FixedPool,
    FixedPoolConfig,
    TrainablePool,
    TrainablePoolConfig,
    pool_weights,
)
from vonenet.v1.parameters import draw_parameters
from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint
from vonenet.zoo.registry import create_model

TUNED = FixedPoolConfig(
    sigma_deg=0.3,
    orientation_deg=25.0,
    frequency_octaves=0.8,
    per_color=True,
    exponent=2.4,
    pool_exponent=2.0,
    semi_saturation=0.7,
    gain=3.0,
    untuned_drive=0.4,
)
KINDS = [
    FixedPoolConfig(sigma_deg=0.1),
    TUNED,
    FixedPoolConfig(untuned_drive=0.4, varied=True, seed=2),
    TrainablePoolConfig(kernel_size=3),
    TrainablePoolConfig(kernel_size=3, per_pair=False),
]
ids = ["untuned", "tuned", "varied", "pairs", "channels"]
every_kind = pytest.mark.parametrize("config", KINDS, ids=ids)


def small_block(normalization, **settings) -> VOneBlock:
    sizes = {"simple_channels": 3, "complex_channels": 3, "image_size": 32, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VOneBlock(normalization=normalization, **sizes)


def small_config(normalization) -> VOneNetConfig:
    v1 = VOneBlockConfig(
        simple_channels=3, complex_channels=3, image_size=32, normalization=normalization
    )
    return VOneNetConfig("voneresnet18", "resnet18", num_classes=3, v1=v1)


def test_weights_of_a_fixed_pool_fall_off_with_orientation_frequency_and_colour():
    p = draw_parameters(12, seed=3)
    found = pool_weights(TUNED, 12, p).numpy()
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            if p.color_channel[i] != p.color_channel[j]:
                continue
            angle = abs(p.orientation_deg[i] - p.orientation_deg[j])
            angle = min(angle, 180 - angle)
            octaves = math.log2(p.frequency_cpd[i] / p.frequency_cpd[j])
            expected[i, j] = math.exp(-(angle**2) / (2 * 25**2) - octaves**2 / (2 * 0.8**2))
        expected[i] /= expected[i].sum()
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert np.unique(p.color_channel).size > 1
    # 170 and -10 degrees are one orientation
    turned = dataclasses.replace(p, orientation_deg=p.orientation_deg - 180.0)
    np.testing.assert_allclose(pool_weights(TUNED, 12, turned).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize(("sigma", "varied"), [(0.4, False), (2.0, False), (0.4, True)])
def test_a_fixed_pool_is_the_formula(sigma, varied):
    x = torch.rand(2, 6, 9, 11, dtype=torch.float64)
    weight = pool_weights(TUNED, 6, draw_parameters(6, seed=1)).double()
    config = dataclasses.replace(TUNED, sigma_deg=sigma / 7, varied=varied)
    module = FixedPool(config, weight, 7.0, 6).double()
    found = module(x)
    strength, untuned = 1.0, 0.4
    if varied:
        strength, untuned = module.strength.numpy(), module.untuned.numpy()
    blurred = x.numpy() ** 2.0
    for axis in (2, 3):
        blurred = gaussian_filter1d(
            blurred, sigma, axis=axis, mode="mirror", radius=math.ceil(2.5 * sigma)
        )
    pool = np.einsum("ij,bjhw->bihw", weight.numpy(), blurred)
    drive = x.numpy() + untuned * x.numpy().mean(1, keepdims=True)
    expected = 3.0 * drive**2.4 / (0.7**2 + strength * pool)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_varied_cells_have_factors_of_their_distributions_that_do_not_depend_on_each_other():
    module = FixedPoolConfig(untuned_drive=0.4, varied=True).build(512, None, 7.0)
    strength, untuned = (each.flatten().numpy() for each in (module.strength, module.untuned))
    gamma = stats.gamma(0.5, scale=2.0)
    assert stats.kstest(strength, gamma.cdf).statistic < 0.01
    assert stats.kstest(untuned / 0.4, "expon").statistic < 0.01
    assert abs(stats.spearmanr(strength, untuned).statistic) < 0.1
    other = FixedPoolConfig(untuned_drive=0.4, varied=True, seed=1).build(512, None, 7.0)
    assert not torch.equal(other.strength, module.strength)


def test_without_tuning_one_pool_serves_all_cells():
    config = FixedPoolConfig(sigma_deg=0.1)
    assert pool_weights(config, 6, None).tolist() == [[pytest.approx(1 / 6)] * 6]
    uniform = torch.full((1, 6, 8, 8), 2.0)
    module = FixedPool(config, pool_weights(config, 6, None), 7.0, 6)
    torch.testing.assert_close(module(uniform), uniform / (1 + 2))


def naive_trainable(module: TrainablePool, x: np.ndarray) -> np.ndarray:
    p = {name: value.detach().numpy() for name, value in module.named_parameters()}
    n, half = len(p["height"]), module.config.kernel_size // 2
    y = np.empty_like(x)
    for i in range(n):
        for row, column in np.ndindex(x.shape[2:]):
            total = np.zeros(len(x))
            for j in range(n):
                own = (i, j) if module.config.per_pair else (j,)
                sx, sy, t, cx, cy = (
                    p[name][own] for name in ("width_x", "width_y", "angle", "center_x", "center_y")
                )
                for dx, dy in np.ndindex(2 * half + 1, 2 * half + 1):
                    r, c = row + dx - half, column + dy - half
                    if not (0 <= r < x.shape[2] and 0 <= c < x.shape[3]):
                        continue
                    u, v = dx - half - cx, dy - half - cy
                    a, b = u * np.cos(t) + v * np.sin(t), -u * np.sin(t) + v * np.cos(t)
                    density = np.exp(-(a**2 / sx**2 + b**2 / sy**2) / 2) / (2 * np.pi * sx * sy)
                    total += abs(p["height"][i, j]) * density * x[:, j, r, c]
            y[:, i, row, column] = x[:, i, row, column] / (abs(p["bias"]) + total)
    return y


@pytest.mark.parametrize("per_pair", [True, False])
def test_a_trainable_pool_is_the_formula(per_pair):
    torch.manual_seed(0)
    module = TrainablePool(TrainablePoolConfig(kernel_size=5, per_pair=per_pair), 3).double()
    with torch.no_grad():
        module.height[0] *= -1
        module.bias *= -1
    x = torch.rand(2, 3, 6, 5, dtype=torch.float64)
    np.testing.assert_allclose(
        module(x).detach().numpy(), naive_trainable(module, x.numpy()), rtol=1e-9
    )


def test_a_trainable_pool_starts_as_published():
    module = TrainablePool(TrainablePoolConfig(), 40)
    torch.manual_seed(1)
    again, other = (TrainablePool(TrainablePoolConfig(seed=seed), 40) for seed in (0, 1))
    assert torch.equal(again.height, module.height)
    assert not torch.equal(other.height, module.height)
    ranges = {"height": (0, 1), "width_x": (1, 2), "width_y": (1, 2), "angle": (0, 2 * math.pi)}
    for name, (low, high) in ranges.items():
        values = getattr(module, name).detach()
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert abs(module.center_x.mean()) < 0.1
    assert abs(module.center_x.std() - 1) < 0.1
    assert 1 <= module.bias <= 2
    assert sum(p.numel() for p in module.parameters()) == 6 * 40 * 40 + 1


@every_kind
def test_gradients_are_those_of_the_function(config):
    torch.manual_seed(1)
    module = config.build(2, draw_parameters(2), 7.0).double()
    x = torch.rand(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    parameters = list(module.parameters())
    if parameters:
        module(x).square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in parameters)


@every_kind
@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_uniform_images_have_finite_gradients(config, value):
    block = small_block(config, noise=None)
    images = torch.full((1, 3, 32, 32), value, requires_grad=True)
    response = block(images)
    response.sum().backward()
    assert response.isfinite().all()
    assert images.grad.isfinite().all()


@every_kind
def test_it_stands_between_gain_and_noise(config):
    plain, block = small_block(None), small_block(config)
    images = torch.rand(2, 3, 32, 32) - 0.5
    mean = block.mean_response(images)
    torch.testing.assert_close(mean, block.normalization(plain.mean_response(images)))
    draw = torch.randn(mean.shape)
    torch.testing.assert_close(block.respond(mean, draw), plain.respond(mean, draw))
    names = [name for name, _ in block.named_children()]
    assert names[names.index("gabors") : names.index("noise") + 1] == [
        "gabors",
        "normalization",
        "noise",
    ]


def test_the_pool_is_in_degrees():
    # 32 px over 2 degrees, stride 2: 8 positions in a degree
    assert small_block(TUNED).normalization.sigma == pytest.approx(0.3 * 8)


def test_without_it_a_block_is_as_it_was():
    block = small_block(None)
    assert block.normalization is None
    assert list(block.state_dict()) == ["simple_conv_q0.weight", "simple_conv_q1.weight"]
    assert "normalization" not in dict(block.named_modules())


def test_the_child_can_be_replaced():
    block = small_block(None)
    images = torch.rand(1, 3, 32, 32)
    before = block.mean_response(images)
    block.normalization = torch.nn.Identity()
    torch.testing.assert_close(block.mean_response(images), before)


@every_kind
def test_files_keep_it(config, tmp_path):
    model = VOneNet.from_config(small_config(config)).eval()
    text = json.dumps(model.config.to_dict())
    assert VOneNetConfig.from_dict(json.loads(text)) == model.config
    save_checkpoint(model, tmp_path / "m.safetensors")
    again = load_checkpoint(tmp_path / "m.safetensors").eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.mean_response(images), model.mean_response(images))
    assert model_hash(again) == model_hash(model) == model_hash(copy.deepcopy(model))


def test_the_hash_tells_settings_apart():
    hashes = {model_hash(small_block(c)) for c in (None, KINDS[0], TUNED)}
    torch.manual_seed(0)
    assert len(hashes | {model_hash(small_block(KINDS[2]))}) == 4


def test_weights_for_other_filters_come_with_their_pool_or_are_refused():
    block, other = small_block(TUNED), small_block(TUNED, seed=5)
    assert not torch.equal(block.normalization.weight, other.normalization.weight)
    block.load_state_dict(other.state_dict())
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(block.mean_response(images), other.mean_response(images))
    with pytest.raises(RuntimeError, match=r"normalization\.weight"):
        block.load_state_dict(small_block(None, seed=5).state_dict())


def test_filters_that_are_still_to_come_give_no_numbers():
    given = small_block(TUNED, filters="given")
    assert given.normalization.weight.isnan().all()
    given.load_state_dict(small_block(TUNED).state_dict())
    assert given.mean_response(torch.rand(1, 3, 32, 32)).isfinite().all()


@every_kind
def test_meta_and_back(config):
    block = small_block(config, noise=None)
    state = copy.deepcopy(block.state_dict())
    images = torch.rand(1, 3, 32, 32)
    expected = block(images)
    assert block.to("meta")(images.to("meta")).shape == expected.shape
    block.load_state_dict(state, assign=True)
    torch.testing.assert_close(block(images), expected)


@every_kind
def test_what_leaves_pytorch_gives_the_same(config):
    block = small_block(config, noise=None).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = block(images)
    exported = torch.export.export(block, (images,)).module()
    torch.testing.assert_close(exported(images), expected, rtol=1e-4, atol=1e-5)
    traced = torch.fx.symbolic_trace(block)
    torch.testing.assert_close(traced(images), expected, rtol=1e-4, atol=1e-5)


@every_kind
def test_onnx_gives_the_same(config):
    onnxruntime = pytest.importorskip("onnxruntime")
    block = small_block(config, noise=None).eval()
    images, file = torch.rand(1, 3, 32, 32), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(block, (images,), file, dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(found, block(images).detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["vonenet_normalized", "vonenet2026", "vonenetdn2022"])
def test_presets_train(name):
    torch.manual_seed(0)
    model = create_model("voneresnet18", front_end=name, image_size=32, num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, before = torch.rand(4, 3, 32, 32) - 0.5, copy.deepcopy(model.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    pool = {key for key in before if key.startswith("vone_block.normalization.")}
    trained = dict(model.named_parameters())
    assert pool
    assert changed & pool == {key for key in pool if key in trained}
    assert not any("simple_conv" in key for key in changed)


def test_a_trained_pool_belongs_to_the_first_layer():
    model = VOneNet.from_config(small_config(KINDS[3]))
    layers = layer_numbers(model)
    assert layers.keys() == dict(model.named_parameters()).keys()
    first = {name for name, number in layers.items() if number == 0}
    pool = {name for name in layers if name.startswith("vone_block.normalization.")}
    assert len(pool) == 7
    assert first == pool | {"bottleneck.weight"}


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: FixedPoolConfig(sigma_deg=0), "sigma_deg must be a number from 1e-06 to 360"),
        (lambda: FixedPoolConfig(sigma_deg=None), "sigma_deg must be a number"),
        (lambda: FixedPoolConfig(exponent=0.5), "exponent must be a number from 1 to 10"),
        (lambda: FixedPoolConfig(per_color=1), "per_color must be True or False, got 1"),
        (lambda: FixedPoolConfig(kind="trainable"), "kind of a FixedPoolConfig is 'fixed'"),
        (lambda: TrainablePoolConfig(kernel_size=4), "odd number of pixels"),
        (lambda: VOneBlockConfig(normalization="fixed"), "normalization must be a FixedPoolConfig"),
        (lambda: VOneBlockConfig(normalization={"kind": "x"}), "one of fixed, trainable"),
        (lambda: VOneBlockConfig(normalization={"kind": "fixed", "c": 1}), "no setting 'c'"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(build, said):
    with pytest.raises(InputError, match=said) as raised:
        build()
    assert "\n" not in str(raised.value)

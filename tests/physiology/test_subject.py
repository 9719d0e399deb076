from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.physiology.experiments.tolhurst1983 import fano_factor
from vonenet.physiology.layers import find_layer
from vonenet.physiology.stimuli import Blank, Canvas, Grating, Window, render
from vonenet.physiology.subject import Subject
from vonenet.v1.block import VOneBlock
from vonenet.v1.push_pull import PushPullConfig
from vonenet.zoo.registry import create_front_end

CANVAS = Canvas(degrees=2, pixels=64)
STIMULI = [
    Blank(),
    *(Grating(orientation_deg=a, frequency_cpd=3, phase_deg=a) for a in range(0, 180, 20)),
    Grating(orientation_deg=0, frequency_cpd=0.1, diameter_deg=0.5),
]


def network(*layers, in_chans=3):
    """A small network that takes pixels; its first layer is called `first`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.Conv2d(in_chans, 6, 9, stride=4, padding=4)
    named = {"first": first} | {f"later{i}": layer for i, layer in enumerate(layers)}
    return PixelModel(nn.Sequential(OrderedDict(named)), 0.5, 0.5)


class Returning(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images)


def shown_to(model, subject):
    """What the model's own output is at the subject's units, of the whole canvas."""
    with torch.no_grad():
        maps = model(render(STIMULI, subject.canvas))
    return maps[:, *subject.units.T].numpy()


@pytest.mark.parametrize("in_chans", [1, 3])
def test_responses_are_the_layers_own_at_the_middle_of_its_map(in_chans):
    model, canvas = network(in_chans=in_chans), Canvas(2, 64, in_chans)
    subject = Subject(model, "first", canvas)
    responses = subject.respond(STIMULI)
    assert responses.shape == (1, len(STIMULI), len(subject)) == (1, len(STIMULI), 6)
    assert responses.dtype == np.float32
    np.testing.assert_allclose(responses[0], shown_to(model, subject), atol=1e-6)
    np.testing.assert_array_equal(subject.mean_response(STIMULI), responses[0])
    assert subject.map_shape == (6, 16, 16)
    assert subject.units.tolist() == [[channel, 8, 8] for channel in range(6)]
    assert not subject.is_stochastic
    # The kernel is 9 px wide, its middle at pixel 32: rows 28 to 36, in steps of 4
    assert subject.window == Window(top=16, left=16, height=32, width=32)


def test_chosen_units_are_recorded_in_their_order():
    units = np.array([[5, 0, 15], [0, 3, 2], [5, 0, 15]])
    model = network()
    subject = Subject(model, "first", CANVAS, units=units, batch_size=4)
    np.testing.assert_allclose(subject.respond(STIMULI)[0], shown_to(model, subject), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GroupNorm(2, 6),
        Returning(lambda x: x - x.mean(dim=(2, 3), keepdim=True)),
        Returning(lambda x: x + torch.zeros(6, 16, 16)),
    ],
    ids=["group_norm", "mean", "of_one_size"],
)
def test_units_that_see_everything_are_shown_everything(layer):
    """So are those of a model that takes images of one size only."""
    model = network(layer)
    subject = Subject(model, "later0", CANVAS)
    assert subject.window == CANVAS.whole
    np.testing.assert_allclose(subject.respond(STIMULI)[0], shown_to(model, subject), atol=1e-6)


def test_a_layer_behind_one_that_sees_everything_computes_a_crop_of_its_input():
    seen = []
    adapting = Returning(lambda images: images / (1 + images.mean((1, 2, 3), keepdim=True)))
    conv = network().model.first
    model = PixelModel(nn.Sequential(adapting, conv), 0.5, 0.5)
    subject = Subject(model, "1", CANVAS)
    hook = conv.register_forward_hook(lambda _, __, maps: seen.append(tuple(maps.shape[2:])))
    np.testing.assert_allclose(subject.respond(STIMULI)[0], shown_to(model, subject), atol=1e-6)
    hook.remove()
    assert subject.window == CANVAS.whole
    assert seen == [(8, 8), (16, 16)], "the recording, then the model on its own"


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize(
    ("cells", "seed", "widening", "strength", "degrees"),
    [(2, 4, 4, 1, 8), (2, 5, 4, 1, 8), (2, 4, 2, 2, 2), (48, 1, 4, 1, 8)],
)
def test_a_crop_holds_what_inhibits_a_cell_from_afar(cells, seed, widening, strength, degrees):
    """Few noise images drive both a cell and its inhibition: one cell alone tells too little."""
    push_pull = PushPullConfig(widening, strength)
    settings = {"image_size": 64, "visual_degrees": degrees, "stride": 2, "seed": seed}
    block = VOneBlock(simple_channels=cells, complex_channels=0, push_pull=push_pull, **settings)
    model, canvas = PixelModel(nn.Sequential(block), 0.5, 0.5), Canvas(degrees, 64)
    rng = np.random.default_rng(7)
    stimuli = [
        Grating(
            orientation_deg=rng.uniform(0, 180),
            frequency_cpd=0.3 * 30 ** rng.uniform(),
            phase_deg=rng.uniform(0, 360),
            diameter_deg=degrees * rng.uniform(0.05, 1.4),
        )
        for _ in range(40)
    ]
    whole = block.mean_response(model.normalise(render(stimuli, canvas)))[:, :, 16, 16].numpy()
    for chosen in (None, *(np.array([[channel, 16, 16]]) for channel in (0, 3 * cells // 4))):
        subject = Subject(model, "0", canvas, units=chosen, mean_response=True)
        expected = whole[:, subject.units[:, 0]]
        found = subject.mean_response(stimuli)
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max(), rtol=0)


def test_of_a_silent_layer_nothing_is_left_out():
    model = network(nn.ReLU())
    with torch.no_grad():
        model.model.first.bias.fill_(-1e3)
    assert Subject(model, "later0", CANVAS).window == CANVAS.whole


def test_what_follows_the_layer_is_not_computed():
    model = network(Returning(lambda x: pytest.fail("reached")))
    assert Subject(model, "first", CANVAS).respond(STIMULI).shape == (1, len(STIMULI), 6)


def test_layers_have_the_names_of_the_model_inside():
    """Also where that is called `model`: a VOneNet's back-end, and what a PixelModel wraps."""
    model = network()
    for outer, name in ((model, "first"), (model, "model.first"), (model.model, "first")):
        assert find_layer(outer, name) is model.model.first
    inner = nn.Module()
    inner.model = nn.ModuleDict({"layer1": nn.Identity()})
    assert find_layer(PixelModel(inner, 0, 1), "model") is inner.model
    for name in ("model.layer1", "model.model.layer1"):
        assert find_layer(PixelModel(inner, 0, 1), name) is inner.model["layer1"]


@pytest.mark.parametrize(
    ("layer", "name", "message"),
    [
        (nn.ReLU(), "frist", "no layer 'frist'; near names: first"),
        (nn.Flatten(), "later0", r"'later0' has no spatial extent: its output is \(1, 1536\)"),
        (nn.AdaptiveAvgPool2d(1), "later0", "no spatial extent"),
        (Returning(lambda x: (x, x)), "later0", "returns a tuple"),
        (Returning(lambda x: x.flatten(2).mT[:, :13]), "later0", "13 tokens, which are no square"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), "later0.1", "not take images of 3x64x64"),
        (nn.ReLU(), "first.unused", "never called"),
    ],
)
def test_layers_that_cannot_be_recorded_are_named(layer, name, message):
    model = network(layer)
    model.model.first.register_module("unused", nn.ReLU())
    with pytest.raises(InputError, match=message):
        Subject(model, name, CANVAS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "trials must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"units": np.array([[6, 0, 0]])}, r"the largest asked for is \(6, 0, 0\)"),
        ({"units": np.array([[0, -1, 0]])}, "must lie in the map"),
        ({"units": np.array([0, 0, 0])}, r"units must be \(n, 3\)"),
        ({"canvas": Canvas(2, 64, in_chans=1)}, "does not take images of 1x64x64"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Subject(network(), "first", **{"canvas": CANVAS} | settings)


def tokens(beside):
    def put(maps):
        extra = maps.new_full((len(maps), beside, maps.shape[1]), 100.0)
        return torch.cat([extra, maps.flatten(2).mT], dim=1)

    return put


@pytest.mark.parametrize(
    "layout", [*map(tokens, (0, 1, 2, 5)), lambda maps: maps.permute(0, 2, 3, 1)]
)
def test_tokens_are_put_in_their_square_and_channels_may_come_last(layout):
    model = network(Returning(layout))
    expected = Subject(model, "first", CANVAS).respond(STIMULI)
    found = Subject(model, "later0", CANVAS)
    assert found.map_shape == (6, 16, 16)
    np.testing.assert_allclose(found.respond(STIMULI), expected, atol=1e-6)


def state(model):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    modes = [module.training for module in model.modules()]
    own = [set(vars(module)) for module in model.modules()]
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return hooks, modes, own, gradients, torch.get_rng_state().tolist(), weights


def staged_network(**settings):
    block = VOneBlock(
        simple_channels=8, complex_channels=8, image_size=64, visual_degrees=2, **settings
    )
    return PixelModel(nn.Sequential(block, nn.BatchNorm2d(16), nn.Dropout(0.5)), 0.5, 0.5)


def test_the_model_is_left_as_it_was():
    model = staged_network().train()
    model.model[1].eval()
    before = state(model)
    for layer in ("0", "1"):
        subject = Subject(model, layer, CANVAS, trials=2, mean_response=True)
        subject.respond(STIMULI)
        subject.mean_response(STIMULI)
    with pytest.raises(InputError, match="needed"):
        Subject(PixelModel(nn.Sequential(model, nn.Flatten()), 0, 1), "1", CANVAS)
    after = state(model)
    assert before[:5] == after[:5]
    assert all(torch.equal(before[5][name], tensor) for name, tensor in after[5].items())


def test_noise_is_left_out_at_its_layer_and_after_it():
    model = staged_network()
    block, norm = model.model[:2]
    expected = block.mean_response(model.normalise(render(STIMULI, CANVAS)))[:, :, 16, 16]
    scale = (norm.running_var + norm.eps) ** -0.5
    for layer, scaled, error in (("0", expected, 1e-5), ("1", expected * scale, 1e-4)):
        subject = Subject(model, layer, CANVAS, trials=3, mean_response=True)
        assert subject.is_stochastic
        assert subject.has_mean_response
        assert subject.uses_mean_response
        assert subject.window != CANVAS.whole
        found = subject.mean_response(STIMULI)
        np.testing.assert_allclose(found, scaled, rtol=error, atol=error)
        trials = subject.respond(STIMULI)
        assert trials.shape == (3, len(STIMULI), 16)
        assert (trials[0] != trials[1]).any()


def test_trials_scatter_about_the_mean_response_as_the_noise_does():
    """Before rectification: responses so far above 0 that it changes nothing."""
    model = staged_network(k_exc=2000)
    subject = Subject(model, "0", CANVAS, trials=400)
    mean = subject.mean_response(STIMULI, before_noise=True)
    trials = subject.respond(STIMULI)
    driven = mean > 40
    deviation = model.model[0].noise.standard_deviation(torch.from_numpy(mean)).numpy()
    assert trials.shape == (400, len(STIMULI), 16)
    assert driven.sum() > 40
    z = (trials - mean)[:, driven] / deviation[driven]
    assert np.abs(z.mean(axis=0)).max() < 5 / 20
    assert z.std(axis=0).mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(subject.mean_response(STIMULI), trials.mean(axis=0), rtol=1e-4)


def test_noise_that_cannot_be_left_out_is_averaged_over_trials():
    jitter = Returning(lambda x: x + torch.randn_like(x))
    subject = Subject(network(jitter), "later0", CANVAS, trials=3, mean_response=True)
    assert subject.is_stochastic
    assert not subject.has_mean_response
    assert not subject.uses_mean_response
    trials = subject.respond(STIMULI)
    np.testing.assert_allclose(subject.mean_response(STIMULI), trials.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("layer", ["0", "1"])
def test_seed_and_stimuli_set_the_noise(layer):
    """What was shown before does not."""
    model = staged_network()
    subject = Subject(model, layer, CANVAS, trials=2)
    first = subject.respond([Blank()] * 8)
    unseen = Grating(orientation_deg=0, frequency_cpd=1, diameter_deg=0.1, x_deg=0.9, y_deg=0.9)
    means = (subject.mean_response([s] * 8, before_noise=True) for s in (Blank(), unseen))
    np.testing.assert_array_equal(*means)
    assert (first != subject.respond([unseen] * 8)).any()
    np.testing.assert_array_equal(first, subject.respond([Blank(mean_luminance=0.5)] * 8))
    same, other = (Subject(model, layer, CANVAS, trials=2, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first, same.respond([Blank()] * 8))
    assert (first != other.respond([Blank()] * 8)).any()


def test_a_deterministic_layer_is_recorded_once():
    """As dropout is in eval mode, which the model is put into."""
    model = network(nn.Dropout(0.5)).train()
    subject = Subject(model, "later0", CANVAS, trials=20)
    assert subject.trials == 1
    assert subject.respond(STIMULI, trials=5).shape == (1, len(STIMULI), 6)
    assert model.training


def test_of_several_noisy_stages_all_draw_and_all_can_be_silent():
    """Subcortical noise reaches V1: its variance is that of whole passes, not of V1's noise alone.

    V1's own is small here.
    """
    channels = {"simple_channels": 8, "complex_channels": 8, "fano_factor": 0.01}
    front_end = create_front_end("evnet2025", image_size=32, **channels)
    subcortical, v1 = front_end.stages
    canvas, stimuli = Canvas(1, 32), STIMULI[1:5]
    subject = Subject(PixelModel(front_end, 0, 1), "vone_block", canvas, mean_response=True)
    assert subject.uses_mean_response
    images = render(stimuli, canvas)
    with torch.no_grad():
        mean = v1.mean_response(subcortical.mean_response(images))[:, :, 8, 8]
        passes = torch.stack([front_end(images)[:, :, 8, 8] for _ in range(400)])
    np.testing.assert_allclose(subject.mean_response(stimuli), mean, rtol=1e-4, atol=1e-4)
    found, expected = subject.respond(stimuli, trials=400).var(axis=0), passes.var(dim=0).numpy()
    assert np.median(found / expected) == pytest.approx(1, abs=0.05)
    assert np.median(expected / v1.noise.standard_deviation(mean).numpy() ** 2) > 2


def test_the_spikes_that_a_layer_counts_have_the_fano_factor_that_it_was_given():
    settings = {"fano_factor": 1.7, "rectified": False, "noise_scale": 0.5, "noise_level": 0.3}
    subject = Subject(staged_network(**settings), "0", CANVAS)
    trials = subject.respond(STIMULI, trials=2000)
    counts = subject.spikes(trials)
    np.testing.assert_allclose(counts, 0.5 * trials + 0.3, rtol=1e-5)
    np.testing.assert_allclose(np.median(fano_factor(counts)), 1.7, rtol=0.02)
    for layer, noise in (("0", "gaussian"), ("0", None), ("1", "neuronal")):
        other = Subject(staged_network(noise=noise), layer, CANVAS)
        assert other.spikes(other.respond(STIMULI)) is None

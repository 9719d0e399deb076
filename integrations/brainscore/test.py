"""Brain-Score records what we record: the same units, the same images, the same noise."""

import brainscore_vision
import numpy as np
import pytest
import torch
from brainscore_vision.benchmark_helpers.screen import place_on_screen
from brainscore_vision.models.vonenet import layers as known
from brainscore_vision.models.vonenet.helpers import (
    CANVAS,
    EXACT,
    SMALL,
    SQUARES,
    brain_of,
    look,
    normalised,
    responses_of,
    shown,
    small,
)
from scipy.stats import norm

from vonenet.data import PixelModel
from vonenet.physiology import Canvas, Subject
from vonenet.physiology.stimuli import Grating


def test_v1_of_voneresnet50_is_our_own_recording(tmp_path):
    brain = brainscore_vision.load_model("vonenet-voneresnet50_ns")
    network = brain.activations_model._model
    assert network.noise is None
    gratings = [Grating(orientation_deg=angle, frequency_cpd=2.0, **EXACT) for angle in (0, 60)]
    recording = look(brain, "V1", shown([*SQUARES, *gratings], tmp_path, CANVAS))
    assert recording.shape == (5, 512 * 56 * 56)
    assert set(recording["layer"].values) == {"vone_block"}
    everywhere = np.random.default_rng(0).integers(0, (512, 56, 56), size=(500, 3))
    for units in (None, everywhere):
        subject = Subject(PixelModel(network, 0.5, 0.5), "vone_block", CANVAS, units=units)
        found = responses_of(recording, subject)
        exact, graded = subject.respond(SQUARES)[0], subject.respond(gratings)[0]
        largest = exact.max()
        assert largest > 1
        np.testing.assert_allclose(found[:3], exact, atol=1e-5 * largest)
        # A file rounds a grating to 1/255.
        np.testing.assert_allclose(found[3:], graded, atol=5e-3 * largest)


@pytest.mark.parametrize("name", ["voneresnet50_at", "vonealexnet", "vonecornet_s"])
def test_later_regions_are_the_committed_layers(name, tmp_path):
    identifier = f"vonenet-{name}"
    network, stimuli = small(name, noise=None), shown(SQUARES, tmp_path)
    brain = brain_of(network, identifier)
    for region in ("V2", "V4", "IT"):
        recording = look(brain, region, stimuli)
        committed = known.committed_layers(identifier)[region]
        layer = known.split_step(committed if isinstance(committed, str) else committed[0])[0]
        assert set(recording["layer"].values) == {layer}
        expected = first_output(network, layer).flatten(1)
        np.testing.assert_allclose(recording.values, expected, atol=1e-4 * float(expected.max()))


def first_output(network, layer):
    """Of a layer, in a pass of the network without Brain-Score."""
    heard = []
    listener = network.get_submodule(layer).register_forward_hook(
        lambda _layer, _inputs, output: heard.append(output)
    )
    with torch.no_grad():
        network(normalised(SQUARES))
    listener.remove()
    return heard[0]


def test_a_stimulus_keeps_its_degrees(tmp_path):
    network = small(noise=None, image_size=224)
    brain = brain_of(network)
    assert brain.visual_degrees() == 8
    # A uniform disc: a grating of no frequency to speak of
    spot = Grating(orientation_deg=90, frequency_cpd=1e-9, diameter_deg=2.0, **EXACT)
    of_4_degrees = shown([spot], tmp_path, Canvas(degrees=4, pixels=112))
    on_screen = place_on_screen(
        of_4_degrees, target_visual_degrees=brain.visual_degrees(), source_visual_degrees=4
    )
    edge = np.array([(cell, 28, column) for cell in range(16) for column in range(20, 37)])
    subject = Subject(PixelModel(network, 0.5, 0.5), "vone_block", CANVAS, units=edge)
    (expected,) = subject.respond([spot])[0]
    (found,) = responses_of(look(brain, "V1", on_screen), subject)
    (too_large,) = responses_of(look(brain, "V1", of_4_degrees), subject)
    np.testing.assert_allclose(found, expected, atol=5e-3 * expected.max())
    assert np.abs(too_large - expected).max() > 0.3 * expected.max()


def expected_under_noise(network, images):
    """Mean and standard deviation of one trial: a normal distribution cut off at 0."""
    with torch.no_grad():
        mean = network.mean_response(images).double().flatten(1)
        sd = network.vone_block.noise.standard_deviation(mean)
    mean, sd = mean.numpy(), sd.numpy()
    z = mean / sd
    first = mean * norm.cdf(z) + sd * norm.pdf(z)
    second = (mean**2 + sd**2) * norm.cdf(z) + mean * sd * norm.pdf(z)
    return first, np.sqrt(second - first**2)


@pytest.mark.parametrize("trials", [1, 4, 16])
def test_trials_average_to_the_mean_within_their_standard_error(trials, tmp_path):
    network = small()
    recording = look(brain_of(network), "V1", shown(SQUARES, tmp_path), trials)
    mean, sd = expected_under_noise(network, normalised(SQUARES))
    assert recording.shape == mean.shape
    errors = (recording.values - mean) / (sd / np.sqrt(trials))
    assert abs(errors.mean()) < 5 / np.sqrt(errors.size)
    assert (errors**2).mean() == pytest.approx(1, abs=0.05)


def test_our_own_trials_average_to_the_same(tmp_path):
    network, trials = small(), 16
    units = np.argwhere(np.ones((16, 32, 32)))
    subject = Subject(
        PixelModel(network, 0.5, 0.5), "vone_block", SMALL, units=units, trials=trials
    )
    ours = subject.respond(SQUARES).mean(axis=0)
    recording = look(brain_of(network), "V1", shown(SQUARES, tmp_path), trials)
    _, sd = expected_under_noise(network, normalised(SQUARES))
    errors = (responses_of(recording, subject) - ours) / (sd * np.sqrt(2 / trials))
    assert abs(errors.mean()) < 5 / np.sqrt(errors.size)
    assert (errors**2).mean() == pytest.approx(1, abs=0.05)


def test_noise_is_fresh_each_time_repeatable_and_not_the_callers(tmp_path):
    network, stimuli = small(), shown(SQUARES, tmp_path)
    brain, another = (brain_of(network) for _ in range(2))
    state = torch.get_rng_state()
    first, second = (look(brain, "V1", stimuli).values for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert (first != second).any()
    torch.manual_seed(1)
    np.testing.assert_array_equal(look(another, "V1", stimuli).values, first)

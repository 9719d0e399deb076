"""What Brain-Score asks of a model: names, layers, weights, trials, time bins, behaviour."""

import json
from pathlib import Path

import brainscore_vision
import numpy as np
import pytest
import torch
from brainscore_vision import BrainModel
from brainscore_vision.model_helpers.activations.core import ActivationsExtractorHelper
from brainscore_vision.models.VOneCORnet_S.helpers import cornet_s_helpers, vonecornets
from brainscore_vision.models.vonenet import layers as known
from brainscore_vision.models.vonenet import model as plugin
from brainscore_vision.models.vonenet.helpers import (
    SQUARES,
    brain_of,
    look,
    normalised,
    shown,
    small,
)
from PIL import Image

from vonenet import DownloadError, InputError, save_checkpoint

NAMES = ["voneresnet50", "voneresnet50_at", "voneresnet50_ns", "vonealexnet", "vonecornet_s"]


@pytest.mark.parametrize("name", NAMES)
def test_registered_models_have_layers_degrees_and_preprocessing(name, tmp_path):
    identifier = f"vonenet-{name}"
    brain = brainscore_vision.load_model(identifier)
    assert brain.identifier == identifier
    assert brain.visual_degrees() == 8
    assert brain.layers == plugin.get_layers(identifier)
    committed = brain.layer_model.region_layer_map
    assert list(committed) == ["V1", "V2", "V4", "IT"]
    assert committed["V1"] == "vone_block"
    for layers in committed.values():
        for layer in [layers] if isinstance(layers, str) else layers:
            assert layer in brain.layers
            assert brain.activations_model.get_layer(layer) is not None
    path = tmp_path / "orange.png"
    Image.new("RGB", (300, 200), (255, 128, 0)).save(path)
    (pixels,) = brain.activations_model._extractor.preprocess([str(path)])
    assert pixels.shape == (3, 224, 224)
    np.testing.assert_allclose(pixels[:, 50, 50], [1, 1 / 255, -1], atol=1e-6)
    assert "dapello" in brainscore_vision.load_model_bibtex(identifier)


@pytest.mark.parametrize(
    ("name", "folder", "theirs"),
    [
        ("voneresnet50", "voneresnet_50", "voneresnet-50"),
        ("voneresnet50_at", "voneresnet_50_robust", "voneresnet-50-robust"),
        ("voneresnet50_ns", "voneresnet_50_non_stochastic", "voneresnet-50-non_stochastic"),
        ("vonealexnet", "vonealexnet", "vonealexnet"),
    ],
)
def test_all_but_v1_is_as_brain_score_has_it(name, folder, theirs):
    models = Path(brainscore_vision.__file__).parent / "models"
    chosen = json.loads((models / folder / "region_layer_map" / f"{theirs}.json").read_text())
    assert known.committed_layers(f"vonenet-{name}") == chosen | {"V1": "vone_block"}


def test_weights_come_from_a_file_or_are_the_published_ones(tmp_path, monkeypatch):
    network, path = small("voneresnet50"), tmp_path / "mine.safetensors"
    save_checkpoint(network, path)
    monkeypatch.setenv(plugin.WEIGHTS_VARIABLE, str(path))
    loaded = brainscore_vision.load_model("vonenet-voneresnet50").activations_model._model
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    with pytest.raises(InputError, match="not a vonealexnet"):
        brainscore_vision.load_model("vonenet-vonealexnet")
    monkeypatch.delenv(plugin.WEIGHTS_VARIABLE)
    monkeypatch.setenv("VONENET_HOME", str(tmp_path))
    with pytest.raises(DownloadError, match=r"voneresnet50_e70\.pth\.tar"):
        brainscore_vision.load_model("vonenet-voneresnet50")
    with pytest.raises(InputError, match=f"no weights are published.*{plugin.WEIGHTS_VARIABLE}"):
        brainscore_vision.load_model("vonenet-voneresnet18")


def test_a_model_without_a_measured_map_has_v1_and_leaves_the_rest_to_brain_score(
    tmp_path, monkeypatch
):
    save_checkpoint(small(), tmp_path / "mine.safetensors")
    monkeypatch.setenv(plugin.WEIGHTS_VARIABLE, str(tmp_path / "mine.safetensors"))
    brain = brainscore_vision.load_model("vonenet-voneresnet18")
    recording = look(brain, "V1", shown(SQUARES, tmp_path))
    assert set(recording["layer"].values) == {"vone_block"}
    committed = brain.layer_model.region_layer_map
    assert dict(committed) == {"V1": "vone_block"}
    chosen = {}

    def choose(selection_identifier, benchmark):
        chosen[selection_identifier] = benchmark
        return "model.layer2"

    committed.layer_selection = choose
    assert committed["V4"] == "model.layer2"
    assert list(chosen) == ["V4"]


def test_models_that_brain_score_cannot_show_images_to_are_refused():
    for settings in ({"in_chans": 1}, {"image_size": (224, 160)}):
        with pytest.raises(InputError, match="square colour images"):
            plugin.commit(small(**settings), "mine")
    without_list = small("voneresnet_small", image_size=64)
    with pytest.raises(InputError, match="no list of layers for the back-end 'resnet_small'"):
        plugin.commit(without_list, "mine")
    assert plugin.commit(without_list, "mine", layers=["vone_block", "model"]).visual_degrees() == 2
    with pytest.raises(InputError, match="begin with 'vonenet-'"):
        plugin.get_layers("voneresnet50")


@pytest.mark.parametrize(
    ("noise", "asked", "passes"),
    [
        ("neuronal", {"number_of_trials": 5}, 5),
        (None, {"number_of_trials": 5}, 1),
        ("neuronal", {"number_of_trials": 5, "require_variance": True}, 5),
        ("neuronal", {}, 1),
    ],
)
def test_an_image_is_seen_as_often_as_there_are_trials(noise, asked, passes, tmp_path):
    network = small(noise=noise)
    recorder = brain_of(network).activations_model
    seen = []
    network.register_forward_hook(lambda *_: seen.append(1))
    recording = recorder(shown(SQUARES, tmp_path), layers=["model.avgpool"], **asked)
    assert len(seen) == passes
    assert len(recording) == 3 * (
        asked.get("number_of_trials") if "require_variance" in asked else 1
    )


def test_stored_responses_are_told_apart(tmp_path, monkeypatch):
    keys = []

    def stored(self, **call):
        keys.append((call["identifier"], call["stimuli_identifier"]))
        return self._from_paths(layers=call["layers"], stimuli_paths=call["stimuli_paths"])

    monkeypatch.setattr(ActivationsExtractorHelper, "_from_paths_stored", stored)
    stimuli = shown(SQUARES, tmp_path)
    for noise, trials in [("neuronal", 1), ("neuronal", 3), ("neuronal", 3), (None, 3)]:
        brain = brain_of(small(noise=noise), region_layer_map={"IT": "model.layer4"})
        look(brain, "IT", stimuli, trials)
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3
    assert [name for _, name in keys] == [
        "vonenet-test",
        "vonenet-test--trials3",
        "vonenet-test--trials3",
        "vonenet-test",
    ]
    assert stimuli.identifier == "vonenet-test"


def test_time_steps_are_those_of_brain_scores_own_cornet_s(tmp_path):
    network, stimuli = small("vonecornet_s", noise=None), shown(SQUARES, tmp_path)
    ours = brain_of(network, "vonenet-vonecornet_s")
    steps = [layer for layer in ours.layers if known.STEP in layer]
    theirs = vonecornets.VOneCORnetCommitment(
        identifier="VOneCORnet-S",
        activations_model=cornet_s_helpers.TemporalPytorchWrapper(
            identifier="oracle",
            model=network,
            preprocessing=ours.activations_model._extractor.preprocess,
            batch_size=len(SQUARES),
        ),
        layers=["vone_block.output-t0", *steps, "model.decoder.avgpool-t0"],
        time_mapping=vonecornets._build_time_mappings(vonecornets.CORNET_S_TIMEMAPPING),
    )
    bins = [(start, start + 20) for start in (40, 120, 160, 180, 220, 260)]
    for region, n_steps in {"V1": 1, "V2": 2, "V4": 4, "IT": 2}.items():
        found, expected = (look_at_bins(brain, region, stimuli, bins) for brain in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max(), err_msg=region)
        assert len({found[:, :, i].tobytes() for i in range(len(bins))}) == n_steps


def look_at_bins(brain, region, stimuli, bins):
    """Presentations x neuroids x time bins, in order of all three."""
    brain.start_recording(region, time_bins=bins)
    recording = brain.look_at(stimuli, number_of_trials=1)
    recording = recording.transpose("presentation", "neuroid", "time_bin")
    assert list(recording["time_bin_start"].values) == [start for start, _ in bins]
    assert len(set(recording["neuroid_id"].values)) == recording.sizes["neuroid"]
    return recording.values[:, np.argsort(recording["neuroid_num"].values)]


@pytest.mark.parametrize("name", ["voneresnet50", "vonecornet_s"])
def test_behaviour_is_the_networks(name, tmp_path):
    network, stimuli = small(name, noise=None), shown(SQUARES, tmp_path)
    brain = brain_of(network, f"vonenet-{name}")
    brain.start_task(BrainModel.Task.label, "imagenet")
    labels = brain.look_at(stimuli, number_of_trials=2)
    with torch.no_grad():
        expected = network(normalised(SQUARES)).argmax(dim=1)
    np.testing.assert_array_equal(labels["logit"].values, expected)
    brain.start_task(BrainModel.Task.probabilities, stimuli)
    probabilities = brain.look_at(stimuli, number_of_trials=2).transpose("presentation", "choice")
    np.testing.assert_allclose(probabilities.values.sum(axis=1), 1)
    assert list(probabilities["choice"].values) == ["a", "b"]

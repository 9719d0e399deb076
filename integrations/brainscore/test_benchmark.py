"""A neural benchmark of Brain-Score's own making, with neurons of our making: a score, offline."""

import numpy as np
import pytest
from brainscore_core import Score
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from brainscore_vision import load_metric
from brainscore_vision.benchmark_helpers.neural_common import NeuralBenchmark
from brainscore_vision.models.vonenet.helpers import EXACT, SMALL, brain_of, shown, small

from vonenet.data import PixelModel
from vonenet.physiology import Subject
from vonenet.physiology.stimuli import Grating

STIMULI = [
    Grating(orientation_deg=angle, frequency_cpd=frequency, **EXACT)
    for frequency in (1, 2, 4)
    for angle in range(0, 180, 15)
]


def benchmark(responses, stimuli):
    """How well a linear regression on a model's V1 predicts these neurons, responses (n, cells)."""
    assembly = NeuroidAssembly(
        responses[:, :, None],
        coords={
            "stimulus_id": ("presentation", list(stimuli["stimulus_id"])),
            "object_name": ("presentation", list(stimuli["object_name"])),
            "neuroid_id": ("neuroid", list(range(responses.shape[1]))),
            "region": ("neuroid", ["V1"] * responses.shape[1]),
            "time_bin_start": ("time_bin", [50]),
            "time_bin_end": ("time_bin", [200]),
        },
        dims=["presentation", "neuroid", "time_bin"],
    ).squeeze("time_bin")
    assembly.attrs["stimulus_set"] = stimuli
    return NeuralBenchmark(
        "ours.V1-pls",
        assembly=assembly,
        similarity_metric=load_metric("pls"),
        visual_degrees=SMALL.degrees,
        number_of_trials=4,
        ceiling_func=lambda: Score(1.0),
        version=1,
        parent="V1",
    )


@pytest.fixture
def neurons():
    """Mean responses of the network's own V1, at the centre: cells that no stimulus silences."""
    subject = Subject(PixelModel(small(), 0.5, 0.5), "vone_block", SMALL)
    responses = subject.mean_response(STIMULI, before_noise=True)
    return responses[:, (responses > 0).all(axis=0)]


def test_a_score_is_high_for_neurons_like_the_models_and_low_for_others(neurons, tmp_path):
    stimuli = shown(STIMULI, tmp_path)
    shuffled = neurons[np.random.default_rng(0).permutation(len(neurons))]
    alike, others = (
        float(benchmark(responses, stimuli)(brain_of(small()))) for responses in (neurons, shuffled)
    )
    assert alike > 0.8
    assert others < 0.3

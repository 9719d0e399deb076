"""For the tests: small networks, stimuli in files, and recordings of them through Brain-Score."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from brainscore_vision.models.vonenet import model as plugin
from PIL import Image

from vonenet import create_model
from vonenet.physiology import Canvas, render
from vonenet.physiology.stimuli import Stimulus

CANVAS = Canvas(degrees=8, pixels=224)
SMALL = Canvas(degrees=2, pixels=64)
# Luminances that a file of 8 bits holds exactly: 1, 128 and 255 of 255
EXACT = {"mean_luminance": 128 / 255, "contrast": 127 / 128}


@dataclass(frozen=True, kw_only=True)
class Squares(Stimulus):
    """Black, grey and white squares of 8 pixels, at random."""

    seed: int
    mean_luminance: float = EXACT["mean_luminance"]

    @staticmethod
    def draw(stimuli, canvas, window):
        side = canvas.pixels // 8
        levels = [np.random.default_rng(s.seed).integers(-1, 2, (side, side)) for s in stimuli]
        whole = torch.tensor(np.kron(levels, np.ones((8, 8)))).float() * EXACT["contrast"]
        return whole[:, window.top :, window.left :][:, : window.height, : window.width]


SQUARES = [Squares(seed=seed) for seed in range(3)]


def small(name="voneresnet18", **settings):
    """A network of few cells and small images, so that Brain-Score records it in no time."""
    torch.manual_seed(0)
    few = {"simple_channels": 8, "complex_channels": 8, "image_size": SMALL.pixels}
    return create_model(name, **(few | settings)).eval()


def brain_of(network, identifier="mine", **settings):
    """A brain model that is shown our few stimuli in one batch."""
    return plugin.commit(network, identifier, batch_size=len(SQUARES), **settings)


def normalised(stimuli):
    """Stimuli as a small network takes them."""
    return render(stimuli, SMALL) * 2 - 1


def shown(stimuli, folder: Path, canvas=SMALL):
    """A stimulus set in files, as benchmarks have it."""
    paths = {}
    for i, image in enumerate(render(stimuli, canvas)):
        pixels = (image * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        paths[f"image{i}"] = str(folder / f"image{i}.png")
        Image.fromarray(pixels).save(paths[f"image{i}"])
    labels = ["ab"[i % 2] for i in range(len(paths))]
    stimulus_set = StimulusSet(
        {"stimulus_id": list(paths), "image_label": labels, "object_name": labels}
    )
    stimulus_set.stimulus_paths = paths
    stimulus_set.identifier = "vonenet-test"
    return stimulus_set


def look(brain, region, stimuli, trials=1, time_bins=((50, 200),)):
    """A region's recording, presentations x neuroids, and x time bins if there are several."""
    brain.start_recording(region, time_bins=list(time_bins))
    recording = brain.look_at(stimuli, number_of_trials=trials)
    assert list(recording["stimulus_id"].values) == list(stimuli["stimulus_id"])
    assert set(recording["region"].values) == {region}
    return recording.transpose("presentation", "neuroid", ...)


def responses_of(recording, subject):
    """Of the units of a `Subject`, found by Brain-Score's own names for channel, row and column."""
    places = np.ravel_multi_index(subject.units.T, subject.map_shape)
    found = recording.isel(neuroid=places)
    for i, name in enumerate(("channel", "channel_x", "channel_y")):
        np.testing.assert_array_equal(found[name].values, subject.units[:, i])
    return found.values

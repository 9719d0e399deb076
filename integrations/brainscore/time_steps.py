"""Gives each time bin of a recording the time step of a recurrent model that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly, walk_coords
from brainscore_vision.model_helpers.brain_transformation.neural import LayerMappedModel
from brainscore_vision.model_helpers.brain_transformation.temporal import TemporalAligned

from .layers import split_step

TimeBins = Sequence[tuple[int, int]]  # from and to, ms


class StepAligned(TemporalAligned):
    """Where a region is mapped to a layer's time steps, the one that begins nearest to each bin.

    So does Brain-Score's own commitment of CORnet-S. The step that begins earlier wins a tie.

    Args:
        layer_model: Maps regions to a layer or to the layers of its time steps.
        starts_ms: When each region's steps begin, ms after the stimulus.
    """

    def __init__(
        self, layer_model: LayerMappedModel, starts_ms: Mapping[str, Sequence[int]]
    ) -> None:
        super().__init__(layer_model)
        self._starts_ms = starts_ms

    def look_at(self, stimuli: Any, number_of_trials: int = 1) -> NeuroidAssembly:
        """Responses, presentations x neuroids x time bins; one time bin is no dimension."""
        (region,) = self._layer_model.recorded_regions
        steps = self.region_layer_map[region]
        if isinstance(steps, str):
            return super().look_at(stimuli, number_of_trials=number_of_trials)
        starts = np.array(self._starts_ms[region])
        wanted = [steps[np.abs(starts - bin_start).argmin()] for bin_start, _ in self._time_bins]
        responses = self._layer_model.run_activations(
            stimuli, layers=list(dict.fromkeys(wanted)), number_of_trials=number_of_trials
        )
        over_time = _over_time(responses, wanted, region, self._time_bins)
        return over_time.squeeze("time_bin") if len(wanted) == 1 else over_time


def _over_time(
    responses: NeuroidAssembly, layer_of_bin: Sequence[str], region: str, time_bins: TimeBins
) -> NeuroidAssembly:
    """From time steps side by side to time bins, each neuroid under one name at all times."""
    responses = responses.transpose("presentation", "neuroid")
    layer_of_neuroid = responses["layer"].values
    values = [responses.values[:, layer_of_neuroid == layer] for layer in layer_of_bin]
    first = responses[{"neuroid": layer_of_neuroid == layer_of_bin[0]}]
    coords = {name: (dims, values) for name, dims, values in walk_coords(first)}
    layer = split_step(layer_of_bin[0])[0]
    n = first.sizes["neuroid"]
    identity = zip(first["model"].values, first["neuroid_num"].values, strict=True)
    coords |= {
        "layer": ("neuroid", [layer] * n),
        "region": ("neuroid", [region] * n),
        "neuroid_id": ("neuroid", [f"{model}.{layer}.{number}" for model, number in identity]),
        "time_bin_start": ("time_bin", [start for start, _ in time_bins]),
        "time_bin_end": ("time_bin", [end for _, end in time_bins]),
    }
    return NeuroidAssembly(
        np.stack(values, axis=-1), coords=coords, dims=["presentation", "neuroid", "time_bin"]
    )

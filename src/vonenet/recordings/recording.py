"""Recording: one layer of one model, recorded in every experiment, with what identifies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vonenet.recordings.published import Published
from vonenet.recordings.units import Array, Drawn, Population, ReceptiveFields
from vonenet.results import Value


@dataclass(frozen=True, eq=False)
class Recording:
    """All that is known of the recorded units of a layer.

    Attributes:
        model: Name of the model.
        model_hash: `vonenet.results.model_hash` of it.
        layer: Name of the layer.
        settings: What else the numbers depend on: `degrees` of visual angle and `pixels` of an
            image, number of `units`, whether tuning was measured `before_noise`, else the `trials`
            that were averaged, `seed`.
        units: (units, 3), channel, row and column in the layer's map.
        map_shape: Channels, height and width of that map.
        is_stochastic: Whether two trials differ.
        rate_slope: Spikes per second and unit of the model's response.
        rate_offset: Spikes per second of a silent unit.
        spontaneous: (units,) spikes per second to a blank.
        fields: Receptive fields.
        populations: Findings by experiment.
        published: The distributions that properties are compared with.
        drawn: What the units were built with, where that is known.
        versions: Of python, torch and vonenet.
        seconds: That the recording took.
    """

    model: str
    model_hash: str
    layer: str
    settings: Mapping[str, Value]
    units: npt.NDArray[np.int64]
    map_shape: tuple[int, int, int]
    is_stochastic: bool
    rate_slope: float
    rate_offset: float
    spontaneous: Array
    fields: ReceptiveFields
    populations: Mapping[str, Population]
    published: Sequence[Published]
    drawn: Drawn | None
    versions: Mapping[str, str]
    seconds: float

    @property
    def label(self) -> str:
        """Model and layer, as a page calls them."""
        return f"{self.model} {self.layer}"

    def values(self, name: str) -> Array:
        """A property of the units that it is about, NaN where it is undefined.

        Raises:
            KeyError: No experiment measures it.
        """
        population = self.experiment_of(name)
        if population is None:
            raise KeyError(name)
        return population.values(name)

    def experiment_of(self, name: str) -> Population | None:
        """The findings that a property is among; None where no experiment measured it."""
        found = (each for each in self.populations.values() if name in each.properties)
        return next(found, None)

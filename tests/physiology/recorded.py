"""Small recordings of planted units: what every experiment finds of them, and what they are."""

import dataclasses
from functools import cache

import numpy as np

from tests.physiology.planted import PlantedSubject, Unit
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.preparation import prepare
from vonenet.physiology.recording import GroundTruth, Recording
from vonenet.physiology.scores import PUBLISHED

SETTINGS = {
    "degrees": 8.0,
    "pixels": 224,
    "units": 12,
    "trials": 1,
    "before_noise": True,
    "seed": 0,
}
UNITS = [
    Unit(
        orientation_deg=13.0 * i,
        frequency_cpd=1.0 + 0.25 * i,
        suppression=0.13 * i,
        simple=i % 2 == 0,
    )
    for i in range(12)
]


def drawn_of(**changes):
    """What the units were built with."""
    known = {
        "orientation_deg": np.array([unit.orientation_deg for unit in UNITS]),
        "frequency_cpd": np.array([unit.frequency_cpd for unit in UNITS]),
        "whole": np.ones(len(UNITS), bool),
        "is_complex": np.array([not unit.simple for unit in UNITS]),
    }
    return GroundTruth(**known | changes)


@cache
def _recorded():
    prepared = prepare(PlantedSubject(UNITS))
    n = len(UNITS)
    return Recording(
        model="planted",
        model_hash="0" * 16,
        layer="v1",
        settings=SETTINGS,
        units=np.stack([np.arange(n), np.full(n, 28), np.full(n, 28)], axis=1),
        map_shape=(n, 56, 56),
        is_stochastic=False,
        rate_slope=prepared.rate_map.slope,
        rate_offset=prepared.rate_map.offset,
        spontaneous=prepared.spontaneous,
        fields=prepared.fields,
        populations={name: run(prepared) for name, run in EXPERIMENTS.items()},
        published=list(PUBLISHED.values()),
        ground_truth=drawn_of(),
        versions={"python": "3", "torch": "2", "vonenet": "0"},
        seconds=47.0,
    )


def recorded(**changes):
    """A recording of `UNITS`, which have no noise; made once, then changed."""
    return dataclasses.replace(_recorded(), **changes)

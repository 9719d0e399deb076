"""One file for each experiment: its stimuli, its analysis and the paper that it follows."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TypeAlias

from vonenet.physiology.experiments import (
    contrast,
    cross_orientation,
    modulation,
    noise,
    orientation,
    phase,
    receptive_field,
    size,
    spatial_frequency,
)
from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Population

Experiment: TypeAlias = Callable[[Preparation], Population]

_MODULES: tuple[ModuleType, ...] = (
    receptive_field,
    orientation,
    modulation,
    phase,
    spatial_frequency,
    size,
    contrast,
    cross_orientation,
    noise,
)
# By name, in the order of a report; none needs another's results
EXPERIMENTS: Mapping[str, Experiment] = {module.NAME: module.run for module in _MODULES}

"""The experiments by name, one file a paper, and a recording of a subject in all of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from vonenet.data import inner_model
from vonenet.physiology.experiments.albrecht1982 import contrast
from vonenet.physiology.experiments.bonds1989 import cross_orientation
from vonenet.physiology.experiments.cavanaugh2002 import size
from vonenet.physiology.experiments.devalois1982 import spatial_frequency
from vonenet.physiology.experiments.ringach2002 import orientation
from vonenet.physiology.experiments.skottun1991 import modulation, phase
from vonenet.physiology.experiments.tolhurst1983 import noise
from vonenet.physiology.preparation import Preparation, prepare, receptive_field
from vonenet.physiology.recording import GroundTruth, Population, Recording
from vonenet.physiology.scores import PUBLISHED, SF_BANDWIDTH
from vonenet.physiology.subject import Subject
from vonenet.results import Value, current_versions, model_hash

# In the order of a report; none needs another's results
EXPERIMENTS: dict[str, Callable[[Preparation], Population]] = {
    "receptive_field": receptive_field,
    "orientation": orientation,
    "modulation": modulation,
    "phase": phase,
    "spatial_frequency": spatial_frequency,
    "size": size,
    "contrast": contrast,
    "cross_orientation": cross_orientation,
    "noise": noise,
}


def record(
    subject: Subject,
    name: str,
    *,
    ground_truth: GroundTruth | None = None,
    progress: bool = False,
) -> Recording:
    """Record a subject in every experiment of `EXPERIMENTS`.

    Args:
        subject: The subject.
        name: The model's, for rows and pages.
        ground_truth: What the units were built with, in their order, where it is known.
        progress: Whether to show a bar for each set of stimuli.

    Raises:
        InputError: No unit responds to anything.
    """
    start = time.perf_counter()
    prepared = prepare(subject, progress=progress)
    populations = {each: measure(prepared) for each, measure in EXPERIMENTS.items()}
    return Recording(
        model=name,
        model_hash=model_hash(inner_model(subject.model)),
        layer=subject.layer_name,
        settings=settings_of(subject),
        units=subject.units,
        map_shape=subject.map_shape,
        is_stochastic=subject.is_stochastic,
        rate_slope=prepared.rate_map.slope,
        rate_offset=prepared.rate_map.offset,
        spontaneous=prepared.spontaneous,
        fields=prepared.fields,
        populations=populations,
        published=[*PUBLISHED.values(), SF_BANDWIDTH],
        ground_truth=ground_truth,
        versions=current_versions(),
        seconds=time.perf_counter() - start,
    )


def settings_of(subject: Subject) -> dict[str, Value]:
    """Return what a recording depends on, beside the model and the layer."""
    return {
        "degrees": float(subject.canvas.degrees),
        "pixels": subject.canvas.pixels,
        "units": len(subject),
        "trials": 1 if subject.uses_mean_response else subject.trials,
        "before_noise": subject.uses_mean_response,
        "seed": subject.seed,
    }

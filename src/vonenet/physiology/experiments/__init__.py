"""The experiments by name, one file a paper, and a recording of a subject in all of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from vonenet.data.pixels import preprocessing_text
from vonenet.physiology.experiments.albrecht1982 import contrast
from vonenet.physiology.experiments.bonds1989 import cross_orientation
from vonenet.physiology.experiments.cavanaugh2002 import size
from vonenet.physiology.experiments.devalois1982 import spatial_frequency
from vonenet.physiology.experiments.ringach2002 import orientation
from vonenet.physiology.experiments.skottun1991 import modulation, phase
from vonenet.physiology.experiments.tolhurst1983 import noise
from vonenet.physiology.preparation import Preparation, prepare, receptive_field
from vonenet.physiology.recording import GroundTruth, Population, Recording
from vonenet.physiology.scores import PUBLISHED
from vonenet.physiology.subject import Subject
from vonenet.results import HASH_LENGTH, Value, current_versions, model_hash

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
    weights: str | None = None,
    ground_truth: GroundTruth | None = None,
    progress: bool = False,
) -> Recording:
    """Record a subject in every experiment of `EXPERIMENTS`.

    Args:
        subject: The subject.
        name: The model's, for rows and pages.
        weights: Its `model_hash`, where that is known.
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
        model_hash=weights or model_hash(subject.model),
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
        published=list(PUBLISHED.values()),
        ground_truth=ground_truth,
        versions=current_versions(),
        seconds=time.perf_counter() - start,
    )


def settings_of(subject: Subject) -> dict[str, Value]:
    """Return what a recording depends on, beside the model and the layer."""
    canvas = subject.canvas
    return {
        "degrees": float(canvas.degrees),
        "pixels": canvas.pixels,
        "units": len(subject),
        "trials": 1 if subject.uses_mean_response else subject.trials,
        "before_noise": subject.uses_mean_response,
        "seed": subject.seed,
        "preprocessing": preprocessing_text(subject.model, (canvas.pixels, canvas.pixels)),
        "protocol": protocol_digest(),
    }


@cache
def protocol_digest() -> str:
    """Return a short hash of all that measures: stimuli, analysis, published data and scores.

    It is of this package's files, so that nothing measured by other ones is taken for the same.
    """

    def contents(folder: Traversable) -> list[str]:
        found = []
        for each in sorted(folder.iterdir(), key=lambda each: each.name):
            if each.is_dir():
                found += contents(each)
            elif each.name.endswith((".py", ".toml")):
                found.append(f"{each.name}\n{each.read_text('utf-8')}")
        return found

    text = "\n".join([current_versions()["vonenet"], *contents(files("vonenet.physiology"))])
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]

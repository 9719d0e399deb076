"""Every experiment on one subject -> a recording."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vonenet.data import inner_model
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.preparation import prepare
from vonenet.physiology.published import PUBLISHED, SF_BANDWIDTH
from vonenet.physiology.recording import GroundTruth, Recording
from vonenet.physiology.subject import Subject
from vonenet.results import Value, current_versions, model_hash


def identity_of(subject: Subject, name: str) -> dict[str, Value]:
    """What a recording of a subject depends on; two with the same are the same.

    Args:
        subject: Whom.
        name: The model's.
    """
    model = {"model": name, "model_hash": model_hash(inner_model(subject.model))}
    return {**model, "layer": subject.layer_name, **_settings_of(subject)}


def examine(
    subject: Subject,
    name: str,
    *,
    drawn: GroundTruth | None = None,
    experiments: Sequence[str] = tuple(EXPERIMENTS),
    progress: bool = False,
) -> Recording:
    """Record a subject in every experiment.

    Args:
        subject: Whom.
        name: The model's, for rows and pages.
        drawn: What the units were built with, in their order, where it is known.
        experiments: Names of `EXPERIMENTS`.
        progress: Whether to show a bar for each set of stimuli.

    Raises:
        InputError: No unit responds to anything.
    """
    begun = time.perf_counter()
    prepared = prepare(subject, progress=progress)
    populations = {each: EXPERIMENTS[each](prepared) for each in experiments}
    channels, height, width = subject.map_shape
    return Recording(
        model=name,
        model_hash=model_hash(inner_model(subject.model)),
        layer=subject.layer_name,
        settings=_settings_of(subject),
        units=subject.units,
        map_shape=(channels, height, width),
        is_stochastic=subject.is_stochastic,
        rate_slope=prepared.rate_map.slope,
        rate_offset=prepared.rate_map.offset,
        spontaneous=prepared.spontaneous,
        fields=prepared.fields,
        populations=populations,
        published=[*PUBLISHED.values(), SF_BANDWIDTH],
        ground_truth=drawn,
        versions=current_versions(),
        seconds=time.perf_counter() - begun,
    )


def _settings_of(subject: Subject) -> dict[str, Value]:
    return {
        "degrees": float(subject.canvas.degrees),
        "pixels": subject.canvas.pixels,
        "units": len(subject),
        "trials": 1 if subject.uses_mean_response else subject.trials,
        "before_noise": subject.uses_mean_response,
        "seed": subject.seed,
    }

"""The work of `vonenet evaluate`: models and data by address, a suite, rows, audit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed, nn

from vonenet.cli.contact_sheet import shown_conditions, write_contact_sheet
from vonenet.cli.evaluate import Evaluate
from vonenet.data import ImageDataset, open_dataset
from vonenet.data.pixels import chosen_device
from vonenet.errors import InputError
from vonenet.results import AUDIT, EXAMPLES, RESULTS, append_lines, model_hash
from vonenet.robustness import (
    CORRUPTIONS,
    Attack,
    Clean,
    Condition,
    Corruption,
    attack_suite,
    audit,
    evaluate,
    rank_and_size,
)
from vonenet.v1.noise import no_noise
from vonenet.zoo.loading import LoadedModel, load_model

SUITES = ("quick", "paper", "corruptions", "attacks", "full")
# A type of each category of ImageNet-C, at the middle severity.
QUICK_CORRUPTIONS = ("gaussian_noise", "defocus_blur", "brightness", "jpeg_compression")
QUICK_SEVERITY = 3
SEVERITIES = (1, 2, 3, 4, 5)
AUDIT_IMAGES = 50
# Beside the PGD of the suites: stronger step rules, and one that needs no gradient.
STRONGER = (
    Attack("linf", 1 / 255, method="apgd"),
    Attack("linf", 1 / 255, method="apgd-dlr"),
    Attack("linf", 1 / 255, method="square", steps=500),
)


def conditions_of(suite: str, image_size: tuple[int, int] | None = None) -> list[Condition]:
    """The conditions of a suite, clean images first.

    Args:
        suite: one of `SUITES`.
        image_size: height and width that attack radii are scaled to; None: as published.

    Raises:
        InputError: an unknown suite.
    """
    if suite not in SUITES:
        raise InputError(f"suite must be one of {', '.join(SUITES)}, got {suite!r}")
    conditions: list[Condition] = [Clean()]
    if suite == "quick":
        conditions += [Corruption(name, QUICK_SEVERITY) for name in QUICK_CORRUPTIONS]
        return conditions + attack_suite("quick", image_size)
    if suite in ("paper", "corruptions", "full"):
        names = [n for n, c in CORRUPTIONS.items() if suite != "paper" or c.category != "extra"]
        conditions += [Corruption(name, severity) for name in names for severity in SEVERITIES]
    if suite == "paper":
        conditions += attack_suite("paper", image_size)
    if suite in ("attacks", "full"):
        conditions += [*attack_suite("evnets", image_size), *STRONGER]
    return conditions


def run_evaluation(config: Evaluate, *, progress: bool = True) -> bool:
    """Measure models under a suite; rows are written as they come, and none is measured twice.

    Args:
        config: Which models, on which images, under which conditions.
        progress: Show progress bars.

    Returns:
        Whether this is the first of the processes that measured together.

    Raises:
        InputError: A model, the data or a setting cannot be used.
    """
    if not config.models:
        raise InputError("no model was given; give one or more names, files or module:function")
    device = _device(config.device)
    first: LoadedModel | None = None  # its adversarial images are tried on the others
    with _process_group():
        for address in config.models:
            loaded = load_model(address)
            loaded.model.to(device)
            dataset = _dataset(config, loaded)
            _measure(loaded, dataset, config, config.out / RESULTS, progress)
            if config.audit and config.suite != "corruptions" and rank_and_size()[0] == 0:
                base = first.model if first and _same_images(first, loaded) else None
                _audit(loaded, base, dataset, config, config.out / AUDIT, progress)
            if first is None and rank_and_size()[0] == 0:
                _draw_examples(loaded, dataset, config, config.out / EXAMPLES)
            first = first or loaded
        return rank_and_size()[0] == 0


def _measure(
    loaded: LoadedModel,
    dataset: ImageDataset,
    config: Evaluate,
    path: Path,
    progress: bool,
) -> None:
    evaluate(
        loaded.model,
        dataset,
        _conditions(config, dataset),
        experiment="evaluate",
        model_name=loaded.name,
        batch_size=config.batch_size,
        limit=config.limit,
        seed=config.seed,
        decision_samples=config.decision_samples,
        out_path=path,
        progress=progress,
    )


def _draw_examples(
    loaded: LoadedModel, dataset: ImageDataset, config: Evaluate, path: Path
) -> None:
    """A contact sheet of the conditions, unless it is there."""
    if not path.is_file():
        conditions = shown_conditions(_conditions(config, dataset))
        write_contact_sheet(loaded.model, dataset, conditions, path, seed=config.seed)


def _conditions(config: Evaluate, dataset: ImageDataset) -> list[Condition]:
    height, width = dataset[0][0].shape[-2:]
    return conditions_of(config.suite, (height, width) if config.scale_radii else None)


def _audit(
    loaded: LoadedModel,
    base: nn.Module | None,
    dataset: ImageDataset,
    config: Evaluate,
    path: Path,
    progress: bool,
) -> None:
    """Append the audit's checks, unless those of this model are there."""
    name = {"model": loaded.name, "model_hash": model_hash(loaded.model.model)}
    if path.is_file() and name["model_hash"] in path.read_text():
        return
    checks = audit(
        loaded.model,
        dataset,
        images=min(AUDIT_IMAGES, config.limit or AUDIT_IMAGES),
        base=base,
        noise_off=no_noise,
        batch_size=config.batch_size,
        seed=config.seed,
        progress=progress,
    )
    lines = []
    for check in checks:
        columns = asdict(check)
        lines.append(json.dumps(name | {"check": columns.pop("name")} | columns) + "\n")
    append_lines(path, "".join(lines))


def _same_images(first: LoadedModel, other: LoadedModel) -> bool:
    return (first.image_size, first.in_chans) == (other.image_size, other.in_chans)


def _dataset(config: Evaluate, loaded: LoadedModel) -> ImageDataset:
    size = config.image_size or loaded.image_size
    return open_dataset(config.data, config.split, image_size=size, in_chans=loaded.in_chans)


def _device(name: str) -> torch.device:
    """The chosen device; of several GPUs the one that `torchrun` means this process to use."""
    device = chosen_device(name)
    number = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", number) if device.type == "cuda" else device


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the other processes if `torchrun` started this one; leave them together."""
    if "RANK" not in os.environ or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()

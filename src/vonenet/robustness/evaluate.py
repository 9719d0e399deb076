"""Accuracy under conditions: one result row each, written as it comes, never measured twice."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset, check_pixels
from vonenet.data.pixels import eval_mode, inner_model
from vonenet.data.seeding import device_of, seeded
from vonenet.data.sources import find_stored_corruption, open_stored_corruption
from vonenet.errors import InputError, VOneNetWarning
from vonenet.files import append_lines
from vonenet.results import (
    Result,
    append_jsonl,
    model_hash,
    read_jsonl,
    wilson_interval,
)
from vonenet.robustness.attacks import check_counts
from vonenet.robustness.conditions import Condition, StoredCorruption
from vonenet.robustness.corruptions import CORRUPTIONS
from vonenet.robustness.sampling import averaged_probabilities

IMAGENET_C = tuple(name for name, kind in CORRUPTIONS.items() if kind.category != "extra")
CHECKED_IMAGES = 4


def evaluate(
    model: nn.Module,
    dataset: ImageDataset,
    conditions: Sequence[Condition],
    *,
    experiment: str,
    model_name: str,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
    decision_samples: int = 1,
    out_path: Path | str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Measure a model's accuracy under each condition.

    There is one decision per image: the largest class probability, averaged over
    `decision_samples` fresh noise draws. The draws of different images are independent, so
    Wilson's interval over images counts the variance of images and of noise together.

    Noise comes from torch's global generators, seeded for every batch and restored after: a row
    repeats on the same machine at the same batch size, whatever was measured before it.

    Under `torchrun` the processes share the batches, and each returns all rows.

    Args:
        model: Takes pixels in [0, 1] and returns logits, usually a `PixelModel`; is put in eval
            mode meanwhile.
        dataset: Labelled images.
        conditions: What to measure, in this order.
        experiment: What the rows belong to.
        model_name: The model's name in the rows; with the weights' hash it must tell this model
            from every other in `out_path`.
        batch_size: Images at a time.
        limit: Measure on this many images, class-balanced; all if None or more than there are.
        seed: Seed of noise and corruptions.
        decision_samples: Noise draws per decision; a deterministic model needs and gets 1.
        out_path: JSON-lines file. Rows that are there already are not measured again; new ones
            are appended as they come. Finished batches are kept in files beside it until all rows
            are there, so a run that was killed goes on with the next batch.
        progress: Show a progress bar.

    Returns:
        One row per condition, those found in `out_path` included.

    Raises:
        InputError: On impossible counts, or if the model returns logits that are not finite.
    """
    check_counts(batch_size=batch_size, decision_samples=decision_samples)
    measured = dataset if limit is None else dataset.subset(min(limit, len(dataset)))
    images = measured.cached()
    with frozen_weights(model):
        stochastic = check_model(model, images, seed)
        if not stochastic:
            decision_samples = 1
            conditions = [condition.for_deterministic_model() for condition in conditions]
        shared = {
            "experiment": experiment,
            "model": model_name,
            "model_hash": model_hash(inner_model(model)),
            "data": dataset.name,
            "data_size": len(dataset),
            "metric": "accuracy",
            "n": len(images),
            "seed": seed,
            "flags": {"stochastic": stochastic},
        }
        height, width = images[0][0].shape[-2:]
        samples = {"decision_samples": decision_samples}
        keys = [shared | {"condition": c.columns((height, width)) | samples} for c in conditions]
        path = None if out_path is None else Path(out_path)
        return _measure_missing(model, images, conditions, keys, batch_size, path, progress)


def evaluate_stored(
    model: nn.Module,
    root: Path | str,
    *,
    names: Sequence[str] = IMAGENET_C,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    in_chans: int = 3,
    **settings: Any,
) -> list[Result]:
    """Measure a model's accuracy on a stored benchmark (ImageNet-C, CIFAR-10-C).

    Args:
        model: As for `evaluate`.
        root: The benchmark's folder (see `open_stored_corruption`).
        names: Corruptions, by default the 15 of ImageNet-C's mean.
        severities: Severities of each.
        in_chans: 1 (grey) or 3 (RGB).
        **settings: Further arguments of `evaluate`, such as `experiment` and `model_name`.

    Returns:
        One row per corruption and severity.

    Raises:
        InputError: If a corruption is unknown or not in the folder.
    """
    if not names or not severities:
        raise InputError("no corruption or no severity was asked for; at least one of each")
    conditions = [StoredCorruption(name, severity) for name in names for severity in severities]
    for condition in conditions:  # before hours of work, not after
        find_stored_corruption(root, condition.name, condition.severity)
    rows = []
    for each in conditions:
        dataset = open_stored_corruption(root, each.name, each.severity, in_chans=in_chans)
        rows += evaluate(model, dataset, [each], **settings)
    return rows


@contextmanager
def frozen_weights(model: nn.Module) -> Iterator[None]:
    """Inside: eval mode, no weight asks for a gradient, and on a CPU weights lie channels last.

    The model computes the same, up to rounding; gradients to the image take about 15 % less time
    (ResNet-18 and VOneResNet-50, 224 px, 2 CPU cores). Everything is as it was afterwards.
    """
    before = [(each, each.requires_grad, each.data) for each in model.parameters()]
    on_cpu = device_of(model).type == "cpu"
    with eval_mode(model):
        try:
            for parameter, _, values in before:
                parameter.requires_grad_(False)
                if on_cpu and parameter.ndim == 4:
                    parameter.data = values.contiguous(memory_format=torch.channels_last)
            yield
        finally:
            for parameter, trained, values in before:
                parameter.requires_grad_(trained)
                parameter.data = values


@torch.no_grad()
def check_model(model: nn.Module, dataset: ImageDataset, seed: int = 0) -> bool:
    """Show the model a few images, twice; return whether the passes differ: it is stochastic.

    Raises:
        InputError: The model does not return one row of finite logits for each image, has fewer
            classes than the data, or returns probabilities; or the images are no pixels.

    Warns:
        VOneNetWarning: The model has more classes than the data.
    """
    pixels = torch.stack([dataset[i][0] for i in range(min(CHECKED_IMAGES, len(dataset)))])
    check_pixels(pixels)
    pixels = pixels.to(device_of(model))
    with seeded(seed, pixels.device):
        logits, again = model(pixels), model(pixels)
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise InputError(f"the model returns a {kind}; needed: one tensor of logits (B, classes)")
    if logits.ndim != 2 or len(logits) != len(pixels):
        raise InputError(
            f"the model returns shape {tuple(logits.shape)} for {len(pixels)} images; needed: "
            f"({len(pixels)}, classes)"
        )
    if not logits.isfinite().all():
        raise InputError("the model's logits are not finite on clean images")
    sums = logits.double().sum(dim=1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise InputError(
            "the model returns probabilities (rows sum to 1); needed: logits, before the softmax, "
            "which hides gradients from attacks"
        )
    outputs, classes = logits.shape[1], len(dataset.classes)
    if outputs < classes:
        raise InputError(f"the model has {outputs} outputs; {dataset.name!r} has {classes} classes")
    if outputs > classes:
        message = (
            f"the model has {outputs} outputs and {dataset.name!r} {classes} classes, which are "
            "taken to be the first ones"
        )
        warnings.warn(message, VOneNetWarning, stacklevel=3)
    return not torch.equal(logits, again)


def rank_and_size() -> tuple[int, int]:
    """Return this process's number and how many there are; (0, 1) without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _measure_missing(
    model: nn.Module,
    images: ImageDataset,
    conditions: Sequence[Condition],
    keys: Sequence[dict[str, Any]],
    batch_size: int,
    path: Path | None,
    progress: bool,
) -> list[Result]:
    """Find each condition's row in the file by its key, or measure it and append it there."""
    rank, _ = rank_and_size()
    known = read_jsonl(path) if path is not None and path.exists() else []
    found = [
        next((row for row in known if all(getattr(row, k) == v for k, v in key.items())), None)
        for key in keys
    ]
    missing = [c for c, row in zip(conditions, found, strict=True) if row is None]
    passes = len(images) * sum(condition.passes for condition in missing)
    rows = []
    with tqdm(total=passes, unit="pass", unit_scale=True, disable=not progress or rank > 0) as bar:
        for condition, key, row in zip(conditions, keys, found, strict=True):
            if row is None:
                bar.set_description(f"{key['model']}: {condition.label}")
                row = _measure(model, images, condition, key, batch_size, path, bar)
                if path is not None and rank == 0:
                    append_jsonl(path, [row])
            rows.append(row)
    if rank == 0:
        for finished in _batch_files(path):
            finished.unlink(missing_ok=True)
    return rows


def _measure(
    model: nn.Module,
    images: ImageDataset,
    condition: Condition,
    key: dict[str, Any],
    batch_size: int,
    path: Path | None,
    bar: tqdm[Any],
) -> Result:
    """Count correct decisions under one condition, in this process's share of the batches."""
    start = time.perf_counter()
    rank, processes = rank_and_size()
    text = json.dumps(key | {"batch_size": batch_size}, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    # What all processes wrote before a kill, without a last line that the kill cut short
    files = _batch_files(path)
    lines = [line for file in files for line in file.read_bytes().split(b"\n")[:-1] if line]
    entries = [entry for entry in map(json.loads, lines) if entry["key"] == digest]
    finished = {entry["batch"]: entry["correct"] for entry in entries}
    counted = {}
    for number, indices in enumerate(torch.split(torch.arange(len(images)), batch_size)):
        if number not in finished and number % processes == rank:
            counted[number] = _count_correct(model, images, condition, key, indices)
            if path is not None:
                entry = {"key": digest, "batch": number, "correct": counted[number]}
                own = path.with_name(f"{path.name}.unfinished-{rank}")
                append_lines(own, json.dumps(entry) + "\n")
        bar.update(len(indices) * condition.passes)
    if processes > 1:
        parts: list[dict[int, int]] = [{} for _ in range(processes)]
        distributed.all_gather_object(parts, counted)
        counted = {number: count for part in parts for number, count in part.items()}
    correct = sum((finished | counted).values())
    low, high = wilson_interval(correct, len(images))
    seconds = round(time.perf_counter() - start, 3)
    return Result(**key, value=correct / len(images), ci_low=low, ci_high=high, seconds=seconds)


def _count_correct(
    model: nn.Module,
    images: ImageDataset,
    condition: Condition,
    key: dict[str, Any],
    indices: Tensor,
) -> int:
    """Count correct decisions on one batch, whose noise depends on it and the seed alone."""
    device = device_of(model)
    batch, labels = zip(*(images[index] for index in indices.tolist()), strict=True)
    pixels = torch.stack(batch)
    check_pixels(pixels)
    pixels, truth = pixels.to(device), torch.tensor(labels, device=device)
    seed, first_index = key["seed"], int(indices[0])
    noise = hashlib.sha256(f"{seed}/{first_index}".encode()).digest()
    with seeded(int.from_bytes(noise[:8], "big") >> 1, device):  # generators take 63 bits
        shown = condition.perturb(model, pixels, truth, seed=seed, first_index=first_index)
        samples = key["condition"]["decision_samples"]
        probabilities = averaged_probabilities(model, shown, samples)
    if not probabilities.isfinite().all():
        raise InputError(f"the model's logits are not finite under {condition.label!r}")
    return int((probabilities.argmax(dim=1) == truth).sum())


def _batch_files(path: Path | None) -> list[Path]:
    """List the files beside a results file that hold finished batches, one of each process."""
    return [] if path is None else sorted(path.parent.glob(f"{path.name}.unfinished-*"))

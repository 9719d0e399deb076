"""Accuracy under conditions: one result row each, written as it comes, never measured twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

from vonenet.bars import progress_bar
from vonenet.data.dataset import ImageDataset, check_pixels
from vonenet.data.pixels import classes_of, eval_mode, preprocessing_text
from vonenet.data.seeding import device_of, seeded
from vonenet.data.sources import find_stored_corruption, open_stored_corruption
from vonenet.errors import InputError
from vonenet.results import (
    HASH_LENGTH,
    Result,
    append_jsonl,
    model_hash,
    read_jsonl,
    wilson_interval,
)
from vonenet.robustness.attacks import check_counts
from vonenet.robustness.conditions import Condition, StoredCorruption
from vonenet.robustness.corruptions import CORRUPTIONS
from vonenet.robustness.journal import Journal
from vonenet.robustness.sampling import averaged_probabilities

IMAGENET_C = tuple(name for name, kind in CORRUPTIONS.items() if kind.category != "extra")
CHECKED_IMAGES = 4
# What of a row is found by measuring; all else it is known by
MEASURED = frozenset({"value", "ci_low", "ci_high", "versions", "seconds"})

Shared = TypeVar("Shared")


class Checked(NamedTuple):
    """What `check_model` found of a model: it serves all measurements of one pair of both."""

    outputs: int
    stochastic: bool  # whether two passes differ
    model_hash: str


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
    checked: Checked | None = None,
    progress: bool = True,
) -> list[Result]:
    """Measure a model's accuracy under each condition.

    There is one decision per image: the largest class probability, averaged over
    `decision_samples` fresh noise draws. The draws of different images are independent, so
    Wilson's interval over images counts the variance of images and of noise together.

    Noise comes from torch's global generators, seeded for every batch and restored after: a row
    repeats on the same machine at the same batch size, whatever was measured before it. It is taken
    from `out_path` if all that it depends on is the same, versions of packages apart.

    Under `torchrun` the processes share the batches, and each returns all rows.

    Args:
        model: Takes pixels in [0, 1] and returns logits, usually a `PixelModel`, whose `classes`
            say which output is which class of the data; is put in eval mode meanwhile.
        dataset: Labelled images.
        conditions: What to measure, in this order.
        experiment: What the rows belong to.
        model_name: The model's name in the rows; with the weights' hash it must tell this model
            from every other in `out_path`.
        batch_size: Images at a time.
        limit: Measure on this many images, class-balanced; all if None or more than there are.
        seed: Seed of noise and corruptions.
        decision_samples: Noise draws per decision; a deterministic model needs and gets 1.
        out_path: JSON-lines file, to which several runs may append. Finished batches are kept in
            files beside it until their rows are there: a run that was killed goes on from there.
        checked: What `check_model` returned, if it has been called; it is not called again.
        progress: Show a progress bar, if stderr is a terminal.

    Returns:
        One row per condition, those found in `out_path` included.

    Raises:
        InputError: On impossible counts, if a class of the data is none of the model's, or if the
            model returns logits that are not finite.
    """
    check_counts(batch_size=batch_size, decision_samples=decision_samples)
    with frozen_weights(model):
        images, stochastic, columns = as_measured(
            model, dataset, limit, seed, checked=checked, progress=progress
        )
        if not stochastic:
            decision_samples = 1
            conditions = [condition.for_deterministic_model() for condition in conditions]
        flags = {
            "stochastic": stochastic,
            "batch_size": batch_size,
            "device": device_of(model).type,
        }
        columns |= {"experiment": experiment, "model": model_name, "metric": "accuracy"}
        samples = {"decision_samples": decision_samples}
        keys = [
            columns | {"flags": flags, "condition": c.columns(images.size) | samples}
            for c in conditions
        ]
        path = None if out_path is None else Path(out_path)
        return _measure_missing(model, images.cached(), conditions, keys, path, progress)


def as_measured(
    model: nn.Module,
    dataset: ImageDataset,
    n: int | None,
    seed: int,
    *,
    checked: Checked | None = None,
    progress: bool = False,
) -> tuple[ImageDataset, bool, dict[str, Any]]:
    """Return images with outputs as labels, whether the model is stochastic, and columns of rows.

    Raises:
        InputError: As `check_model`, or a class of the data is none of the model's.
    """
    part = dataset if n is None else dataset.subset(min(n, len(dataset)))
    outputs, stochastic, weights = checked or check_model(model, part, seed)
    matched, how = part.matched(classes_of(model), outputs)
    columns = {
        "model_hash": weights,
        "data": dataset.name,
        "data_size": len(dataset),
        "data_hash": part.content_hash(progress=progress),
        "classes": how,
        "preprocessing": preprocessing_text(model, part.size),
        "n": len(part),
        "seed": seed,
    }
    return matched, stochastic, columns


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

    There is one row per corruption, by default the 15 of ImageNet-C's mean, and severity. `root` is
    the benchmark's folder (see `open_stored_corruption`); `settings` are further arguments of
    `evaluate`, such as `experiment` and `model_name`.

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


def check_model(model: nn.Module, dataset: ImageDataset, seed: int = 0) -> Checked:
    """Do as `check_outputs` with a few images, and hash the model.

    Raises:
        InputError: As `check_outputs`; or the images are no pixels.
    """
    pixels = torch.stack([dataset[i][0] for i in range(min(CHECKED_IMAGES, len(dataset)))])
    check_pixels(pixels)
    return Checked(*check_outputs(model, pixels, seed), model_hash(model))


@torch.no_grad()
def check_outputs(model: nn.Module, pixels: Tensor, seed: int = 0) -> tuple[int, bool]:
    """Show the model, in eval mode, a few images, twice.

    Returns:
        The number of its outputs, and whether the passes differ: then it is stochastic.

    Raises:
        InputError: The model does not return one row of finite logits for each image, or returns
            probabilities.
    """
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
    return logits.shape[1], not torch.equal(logits, again)


def rank_and_size() -> tuple[int, int]:
    """Return this process's number and how many there are; (0, 1) without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def digest_of_columns(columns: Mapping[str, Any]) -> str:
    """Return a digest of all that a row depends on, from its columns."""
    known_by = {name: value for name, value in columns.items() if name not in MEASURED}
    return hashlib.sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]


def _measure_missing(
    model: nn.Module,
    images: ImageDataset,
    conditions: Sequence[Condition],
    keys: Sequence[dict[str, Any]],
    path: Path | None,
    progress: bool,
) -> list[Result]:
    """Find each condition's row in the file by its key, or measure it and append it there."""
    rank, _ = rank_and_size()
    digests = [digest_of_columns(key) for key in keys]
    known = _from_first_process(_rows_by_digest(path))  # others may write rows meanwhile
    journal = Journal(path)
    missing = [c for c, digest in zip(conditions, digests, strict=True) if digest not in known]
    passes = len(images) * sum(condition.passes for condition in missing)
    rows = []
    shown = progress and rank == 0
    with progress_bar(total=passes, unit="pass", unit_scale=True, shown=shown) as bar:
        for condition, key, digest in zip(conditions, keys, digests, strict=True):
            row = known.get(digest)
            if row is None:
                bar.set_description(f"{key['model']}: {condition.label}")
                row = _measure(model, images, condition, key, digest, journal, bar)
                if path is not None and rank == 0:
                    append_jsonl(path, [row])
            rows.append(row)
    if rank == 0:
        journal.clear(_rows_by_digest(path))
    return rows


def _rows_by_digest(path: Path | None) -> dict[str, Result]:
    known = read_jsonl(path) if path is not None and path.exists() else []
    return {digest_of_columns(asdict(row)): row for row in known}


def _from_first_process(value: Shared) -> Shared:
    """Return what the first of several processes has."""
    shared = [value]
    if rank_and_size()[1] > 1:
        distributed.broadcast_object_list(shared, 0)
    return shared[0]


def _measure(
    model: nn.Module,
    images: ImageDataset,
    condition: Condition,
    key: dict[str, Any],
    digest: str,
    journal: Journal,
    bar: tqdm[Any],
) -> Result:
    """Count correct decisions under one condition, in this process's share of the batches."""
    start = time.perf_counter()
    rank, processes = rank_and_size()
    finished = _from_first_process(journal.parts(digest))  # before a kill, by all processes
    batches = torch.split(torch.arange(len(images)), key["flags"]["batch_size"])
    for number, indices in enumerate(batches):
        if str(number) not in finished and number % processes == rank:
            finished[str(number)] = _count_correct(model, images, condition, key, indices)
            journal.add(digest, str(number), finished[str(number)])
        bar.update(len(indices) * condition.passes)
    if processes > 1:
        parts: list[dict[str, int]] = [{} for _ in range(processes)]
        distributed.all_gather_object(parts, finished)
        finished = {number: count for part in parts for number, count in part.items()}
    correct = sum(finished[str(number)] for number in range(len(batches)))
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

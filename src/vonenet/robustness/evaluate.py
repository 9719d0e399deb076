"""Accuracy under conditions: one result row each, written as it comes, never measured twice."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset, check_pixels
from vonenet.data.pixels import inner_model
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.results import Result, append_jsonl, model_hash, read_jsonl, wilson_interval
from vonenet.robustness.checks import check_counts, check_model, first_pixels
from vonenet.robustness.conditions import Condition
from vonenet.robustness.journal import Journal
from vonenet.robustness.processes import gathered, rank_and_size
from vonenet.robustness.readiness import eval_mode, ready
from vonenet.robustness.sampling import averaged_probabilities


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
    """Measures a model's accuracy under each condition.

    There is one decision per image: the largest class probability, averaged over
    `decision_samples` fresh noise draws. The draws of different images are independent, so
    Wilson's interval over images counts the variance of images and of noise together.

    Noise comes from torch's global generators, seeded for every batch and restored after: a row
    repeats on the same machine at the same batch size, whatever was measured before it.

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
            are appended as they come.
        progress: Show a progress bar.

    Returns:
        One row per condition, those found in `out_path` included.

    Raises:
        InputError: On impossible counts, or if the model returns logits that are not finite.
    """
    check_counts(batch_size=batch_size, decision_samples=decision_samples)
    measured = dataset if limit is None else dataset.subset(min(limit, len(dataset)))
    measured = measured.cached()
    with eval_mode(model):
        check_model(model, measured)
        stochastic = is_stochastic(model, measured, seed)
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
            "n": len(measured),
            "seed": seed,
            "flags": {"stochastic": stochastic},
        }
        height, width = measured[0][0].shape[-2:]
        samples = {"decision_samples": decision_samples}
        plan = [
            (condition, {**shared, "condition": condition.columns((height, width)) | samples})
            for condition in conditions
        ]
        with ready(model):
            return _carry_out(plan, model, measured, batch_size, out_path, progress)


def is_stochastic(model: nn.Module, dataset: ImageDataset, seed: int = 0) -> bool:
    """Whether two forward passes of a few images differ. The model should be in eval mode."""
    device = device_of(model)
    pixels = first_pixels(dataset).to(device)
    with torch.no_grad(), seeded(seed, device):
        return not torch.equal(model(pixels), model(pixels))


def _carry_out(
    plan: Sequence[tuple[Condition, dict[str, Any]]],
    model: nn.Module,
    dataset: ImageDataset,
    batch_size: int,
    out_path: Path | str | None,
    progress: bool,
) -> list[Result]:
    """Finds each condition's row in `out_path` by its key, or measures it and appends it there."""
    rank, _ = rank_and_size()
    journal = Journal(out_path, rank)
    known = read_jsonl(out_path) if out_path is not None and Path(out_path).exists() else []
    found = [_find(known, key) for _, key in plan]
    missing = [condition for (condition, _), row in zip(plan, found, strict=True) if row is None]
    passes = len(dataset) * sum(condition.passes for condition in missing)
    rows = []
    with tqdm(total=passes, unit="pass", unit_scale=True, disable=not progress or rank > 0) as bar:
        for (condition, key), row in zip(plan, found, strict=True):
            if row is None:
                bar.set_description(f"{key['model']}: {condition.label}")
                row = _measure(model, dataset, condition, key, batch_size, journal, bar)
                if out_path is not None and rank == 0:
                    append_jsonl(out_path, [row])
            rows.append(row)
    if rank == 0:
        journal.remove()
    return rows


def _find(rows: Sequence[Result], key: dict[str, Any]) -> Result | None:
    """The row that agrees with every column of the key."""
    for row in rows:
        if all(getattr(row, column) == value for column, value in key.items()):
            return row
    return None


def _measure(
    model: nn.Module,
    dataset: ImageDataset,
    condition: Condition,
    key: dict[str, Any],
    batch_size: int,
    journal: Journal,
    bar: "tqdm[Any]",
) -> Result:
    """Counts correct decisions under one condition, in this process's share of the batches."""
    start = time.perf_counter()
    rank, processes = rank_and_size()
    of_condition = key | {"batch_size": batch_size}
    known = journal.read(of_condition)
    counts = {}
    for number, indices in enumerate(torch.split(torch.arange(len(dataset)), batch_size)):
        if number not in known and number % processes == rank:
            counts[number] = _count_correct(model, dataset, condition, key, indices)
            journal.write(of_condition, number, counts[number])
        bar.update(len(indices) * condition.passes)
    correct = sum((known | gathered(counts)).values())
    low, high = wilson_interval(correct, len(dataset))
    seconds = round(time.perf_counter() - start, 3)
    return Result(**key, value=correct / len(dataset), ci_low=low, ci_high=high, seconds=seconds)


def _count_correct(
    model: nn.Module,
    dataset: ImageDataset,
    condition: Condition,
    key: dict[str, Any],
    indices: Tensor,
) -> int:
    """Correct decisions on one batch. Its noise depends on the seed and on the batch alone."""
    device = device_of(model)
    images, labels = zip(*(dataset[index] for index in indices.tolist()), strict=True)
    pixels, targets = torch.stack(images), torch.tensor(labels)
    check_pixels(pixels)
    pixels, targets = pixels.to(device), targets.to(device)
    seed, first_index = key["seed"], int(indices[0])
    with seeded(_batch_seed(seed, first_index), device):
        shown = condition.perturb(model, pixels, targets, seed=seed, first_index=first_index)
        decided = _decide(model, shown, key["condition"]["decision_samples"], condition)
    return int((decided == targets).sum())


def _batch_seed(seed: int, first_index: int) -> int:
    digest = hashlib.sha256(f"{seed}/{first_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # generators take 63 bits


def _decide(model: nn.Module, pixels: Tensor, samples: int, condition: Condition) -> Tensor:
    probabilities = averaged_probabilities(model, pixels, samples)
    if not probabilities.isfinite().all():
        raise InputError(f"the model's logits are not finite under {condition.label!r}")
    return probabilities.argmax(dim=1)

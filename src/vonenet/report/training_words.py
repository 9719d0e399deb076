"""What training runs gave, in words: a heading, and notes on charts and table."""

from __future__ import annotations

from collections.abc import Sequence

from vonenet.report.findings import NAMED_MODELS
from vonenet.report.recipes import Differences
from vonenet.report.trained import Run
from vonenet.report.words import count, listing, number, percent

# Fields of a recipe that say what the training task is, and which images validate.
TASK_FIELDS = ("augmentation.", "optimization.label_smoothing")
VALIDATION_FIELDS = ("data.image_size", "data.in_chans", "data.validation_")


def training_finding(runs: Sequence[Run]) -> str:
    """Where the runs ended, without full stop."""
    if len(runs) > NAMED_MODELS:
        return _range(runs)
    return "; ".join(_ending(run) for run in runs)


def training_notes(runs: Sequence[Run], recipes: Differences) -> list[str]:
    """What a reader must know of the charts and the table.

    Args:
        runs: those that they show.
        recipes: how their recipes differ.
    """
    notes = [
        "Training loss and accuracy are means over an epoch while the weights moved, of images as "
        "they were augmented or attacked; validation comes after the epoch, without either.",
        "The best epoch is chosen by the validation images themselves: its accuracy flatters it.",
        "Images per second: median over epochs. Training time: of the finished epochs, without "
        "validation and checkpoints.",
    ]
    if len(runs) > 1:
        notes.append("Each line is a single run: with another seed it would end elsewhere.")
    attacked = any(run.recipe.get("adversarial", {}).get("epsilon") for run in runs)
    task_fields = (*TASK_FIELDS, "adversarial.") if attacked else TASK_FIELDS
    for beginnings, warning in (
        (task_fields, "training loss and accuracy are not of the same task"),
        (VALIDATION_FIELDS, "validation accuracies are not of the same images"),
    ):
        fields = [name for name, _ in recipes.rows if name.startswith(beginnings)]
        if fields:
            notes.append(f"Recipes differ in {listing(fields)}: {warning}.")
    return notes


def _ending(run: Run) -> str:
    """Where one run ended, or where it stands."""
    if run.last is None:
        return f"{run.label} has not finished an epoch"
    verb, epochs = "ends" if run.finished else "stands", count(run.last.epoch, "epoch")
    if run.planned and not run.finished:
        epochs = f"{run.last.epoch} of {count(run.planned, 'epoch')}"
    if not run.validated:
        return f"{run.label} {verb} at a training loss of {number(run.last.loss)} after {epochs}"
    epoch, accuracy = run.validated[-1]
    late = "" if epoch == run.last.epoch else f" (validated after {epoch})"
    return f"{run.label} {verb} at {percent(accuracy)}% validation accuracy after {epochs}{late}"


def _range(runs: Sequence[Run]) -> str:
    """The best of many runs, and between what the others are."""
    validated = sorted((r for r in runs if r.validated), key=lambda run: run.validated[-1][1])
    if not validated:
        return f"{len(runs)} training runs, none of them validated"
    *others, best = validated
    head = f"{_ending(best)}, the highest of {len(runs)} runs"
    if not others:
        return head
    who = "the others" if len(validated) == len(runs) else "the others with validation"
    ends = dict.fromkeys(percent(run.validated[-1][1]) for run in (others[0], others[-1]))
    return f"{head}; {who} are at {' to '.join(ends)}%"

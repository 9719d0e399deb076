"""What a training tells: a record per epoch, lines of JSON for them and for steps, trackers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from vonenet.files import write_whole, written
from vonenet.training.recipe import TrainingRecipe
from vonenet.training.run_folder import run_identity

LOG = "log.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images, while the weights moved; with mixup, of
            the class that has the larger share.
        learning_rate: Of the epoch's last step.
        images_per_second: Training throughput, all processes together.
        seconds: Training time, validation and checkpoints apart.
        validation_accuracy: Share of right decisions afterwards; None without data.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class TrainingLog:
    """A finished training: its recipe and one record per epoch."""

    recipe: TrainingRecipe
    epochs: list[EpochRecord] = field(default_factory=list)


def start_trackers(
    accelerator: Accelerator, recipe: TrainingRecipe, run: Path | None, steps: int
) -> None:
    """Tells the trackers that were asked for about the recipe; a run that goes on does so there.

    Args:
        accelerator: knows the trackers.
        recipe: what is trained.
        run: folder of the run; None: there are no trackers.
        steps: That were taken. TensorBoard forgets what it was told of later ones.
    """
    if run is None or not accelerator.is_main_process:
        return
    settings = {
        f"{table}.{name}": value if isinstance(value, (int, float, str)) else str(value)
        for table, values in recipe.tables().items()
        for name, value in values.items()
    }
    name = run.resolve().name
    wandb = {"dir": str(run), "name": name, "id": run_identity(run), "resume": "allow"}
    tensorboard = {"purge_step": steps + 1}
    accelerator.init_trackers("vonenet", settings, {"wandb": wandb, "tensorboard": tensorboard})


class RunLog:
    """Lines of `log.jsonl`, and of the trackers that were asked for; of the first process only.

    Args:
        accelerator: knows the trackers.
        run: folder of the run; None: no lines.
        epochs: That are finished.
        steps: That were taken. Lines of what comes after, which the run will do again, are removed.

    Raises:
        InputError: If the file cannot be written.
    """

    def __init__(self, accelerator: Accelerator, run: Path | None, epochs: int, steps: int) -> None:
        self._accelerator = accelerator
        self._path = run / LOG if run is not None and accelerator.is_main_process else None
        if self._path is not None and self._path.exists():
            done = {"step": steps, "epoch": epochs}
            lines = self._path.read_bytes().split(b"\n")[:-1]
            entries = [json.loads(line) for line in lines]
            kept = [entry for entry in entries if entry[entry["kind"]] <= done[entry["kind"]]]
            write_whole(self._path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line.

        Args:
            kind: "step" or "epoch".
            step: Steps taken since the run began.
            values: The numbers; None for one that there is not.

        Raises:
            InputError: If the file cannot be written.
        """
        present = {name: value for name, value in values.items() if value is not None}
        if self._path is not None:
            line = json.dumps({"kind": kind, "step": step, **present}) + "\n"
            with written(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        self._accelerator.log({f"{kind}/{name}": value for name, value in present.items()}, step)

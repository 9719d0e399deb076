"""The folder of a run: its recipe, what it ran on, its log, and trackers beside it.

recipe.toml            every field of the recipe
run.json               every start: when, on what machine, with which versions and code
log.jsonl              a line for every epoch and for some steps
last/, previous/       checkpoints (checkpoint.py)
best.safetensors       weights of the epoch with the best validation accuracy
model.safetensors      weights at the end
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vonenet.errors import InputError
from vonenet.files import write_whole, written
from vonenet.results import LOG, RECIPE, RUN, EpochRecord, append_lines, current_versions
from vonenet.training.checkpoint import LAST, PREVIOUS
from vonenet.training.config import TrainingRecipe

TRACKERS = ("tensorboard", "wandb")
PACKAGES = ("torchvision", "timm", "numpy")
# What may change when a run goes on: its numbers do not depend on it.
CHANGEABLE = frozenset({("data", "workers")})


@dataclass(frozen=True)
class TrainingLog:
    """A finished training: its recipe and one record per epoch."""

    recipe: TrainingRecipe
    epochs: list[EpochRecord] = field(default_factory=list)


def open_run(run: Path, recipe: TrainingRecipe) -> None:
    """Make the folder of a run, or find it there with the same recipe.

    Raises:
        InputError: It cannot be written, or has a checkpoint of another recipe.
    """
    with written(run):
        run.mkdir(parents=True, exist_ok=True)
    started = any((run / name).exists() for name in (LAST, PREVIOUS))
    if not (started and (run / RECIPE).exists()):
        write_whole(run / RECIPE, recipe.as_toml().encode())
        return
    there = TrainingRecipe.read(run / RECIPE).tables(unset=True)
    for table, fields in recipe.tables(unset=True).items():
        for name, value in fields.items():
            if there[table][name] != value and (table, name) not in CHANGEABLE:
                raise InputError(
                    f"{run} holds a run with {table}.{name}={there[table][name]!r}, not "
                    f"{value!r}; allowed: the same recipe, or another folder"
                )


def note_start(run: Path, processes: int, device: torch.device) -> None:
    """Add a start to run.json."""
    before = json.loads((run / RUN).read_bytes()) if (run / RUN).exists() else {}
    start = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "folder": str(Path.cwd()),
        "processes": processes,
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
        "versions": current_versions() | {name: version(name) for name in PACKAGES},
        "git": _git_state(),
    }
    described = {
        "identity": before.get("identity") or uuid.uuid4().hex,
        "starts": [*before.get("starts", []), start],
        "finished": None,
    }
    write_whole(run / RUN, (json.dumps(described, indent=2) + "\n").encode())


def note_end(run: Path) -> None:
    """Write into run.json when the run was finished."""
    described = json.loads((run / RUN).read_bytes())
    described["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_whole(run / RUN, (json.dumps(described, indent=2) + "\n").encode())


def _git_state() -> dict[str, Any] | None:
    """Return the commit of the code in use, or of the working folder, and if it was changed."""
    for folder in (Path(__file__).parent, Path.cwd()):
        words = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        command = ["git", "-C", str(folder), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603
        except (OSError, subprocess.SubprocessError):  # no git, no repository, no commit
            continue
        commit, changed, _ = done.stdout.strip().partition("-dirty")
        return {"folder": str(folder), "commit": commit, "changed": bool(changed)}
    return None


def check_trackers(names: Sequence[str], run: Path | None) -> None:
    """Refuse trackers that cannot be used.

    Raises:
        InputError: There is no folder, or a tracker is unknown or not installed.
    """
    if names and run is None:
        raise InputError(f"trackers={list(names)} write into the folder of a run; needed: out")
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"tracker {name!r} is unknown; allowed: {', '.join(TRACKERS)}")
        try:
            __import__(name)
        except ImportError:
            raise InputError(f"tracker {name!r} is not installed: pip install {name}") from None


class RunLog:
    """The lines of log.jsonl, and the same numbers for TensorBoard and Weights & Biases.

    Args:
        run: Folder of the run; nothing is written without.
        recipe: Recipe that the trackers show.
        trackers: "tensorboard", "wandb".
        epochs: Epochs that are finished.
        steps: Steps that were taken. Lines of what comes after, which the run will do again, are
            removed.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(
        self,
        run: Path | None,
        recipe: TrainingRecipe,
        trackers: Sequence[str],
        epochs: int,
        steps: int,
    ) -> None:
        self._path = None if run is None else run / LOG
        self._tensorboard: Any = None
        self._wandb: Any = None
        if run is None or self._path is None:
            return
        if self._path.exists():
            done = {"step": steps, "epoch": epochs}
            entries = [json.loads(line) for line in self._path.read_bytes().split(b"\n")[:-1]]
            kept = [entry for entry in entries if entry[entry["kind"]] <= done[entry["kind"]]]
            write_whole(self._path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        if "tensorboard" in trackers:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what an earlier process wrote of later steps is not shown
            self._tensorboard = SummaryWriter(str(run / "vonenet"), purge_step=steps + 1)
            self._tensorboard.add_text("recipe", f"```\n{recipe.as_toml()}\n```", steps)
        if "wandb" in trackers:
            import wandb

            self._wandb = wandb.init(
                project="vonenet",
                name=run.resolve().name,
                id=json.loads((run / RUN).read_bytes())["identity"],
                dir=str(run),
                resume="allow",
                config=recipe.tables(),
            )

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers that are not None, of a kind, "step" or "epoch", after so many steps.

        Raises:
            InputError: The file cannot be written.
        """
        present = {name: value for name, value in values.items() if value is not None}
        if self._path is not None:
            line = json.dumps({"kind": kind, "step": step, **present})
            append_lines(self._path, f"{line}\n")
        named = {f"{kind}/{name}": value for name, value in present.items()}
        if self._tensorboard is not None:
            for name, value in named.items():
                self._tensorboard.add_scalar(name, value, step)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(named, step)

    def close(self) -> None:
        """Tell the trackers that this process ends."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()

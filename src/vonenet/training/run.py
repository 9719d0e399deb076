"""The folder of a run: its recipe, what it ran on, its log, and trackers beside it.

recipe.toml            every field of the recipe
run.json               the data; every start: when, on what machine, with which versions and code
log.jsonl              a line for every epoch and for some steps
last/, previous/       checkpoints (checkpoint.py), from which alone a run goes on
best.safetensors       weights of the epoch with the best validation accuracy
model.safetensors      weights at the end
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vonenet.data.dataset import ImageDataset
from vonenet.errors import InputError
from vonenet.files import append_own_lines, locked_folder, replace_whole, write_whole
from vonenet.results import BEST, LOG, RECIPE, RUN, EpochRecord, current_versions
from vonenet.training.checkpoint import read_checkpoint, sealed
from vonenet.training.config import TrainingRecipe
from vonenet.training.resume import (
    check_new,
    check_same,
    log_line,
    restore_log,
    restored_best,
    restored_run,
    size_and_checksum,
)

TRACKERS = ("tensorboard", "wandb")
PACKAGES = ("torchvision", "timm", "numpy")


@dataclass(frozen=True)
class TrainingLog:
    """A finished training: its recipe and one record per epoch.

    Attributes:
        already_finished: Whether nothing was left to train when it was started.
    """

    recipe: TrainingRecipe
    epochs: list[EpochRecord]
    already_finished: bool = field(default=False, compare=False)


class RunFolder:
    """The folder of a run, its log and trackers, all written by the main process.

    Args:
        path: The folder; None: nothing is written.
        recipe: Recipe of the run.
        trackers: "tensorboard", "wandb": where the numbers of the log go, too.

    Raises:
        InputError: There is no folder for a tracker, or it is unknown or not installed. All methods
            raise it if a file cannot be written.
    """

    def __init__(
        self, path: Path | None, recipe: TrainingRecipe, trackers: Sequence[str] = ()
    ) -> None:
        self.path, self.recipe, self.trackers = path, recipe, trackers
        self.about: dict[str, Any] = {}  # what the run is, as the checkpoints have it
        self.best: list[int] | None = None  # size and checksum of the best weights
        # Only where the run is started, which is in the main process
        self._locked = ExitStack()
        self._log: Path | None = None
        self._tensorboard: Any = None
        self._wandb: Any = None
        if trackers and path is None:
            raise InputError(f"trackers={list(trackers)} write into the folder of a run; give out")
        for name in trackers:
            if name not in TRACKERS:
                raise InputError(f"tracker {name!r} is unknown; allowed: {', '.join(TRACKERS)}")
            try:
                import_module(name)
            except ImportError:
                raise InputError(f"tracker {name!r} is not installed: pip install {name}") from None

    def open(
        self,
        training: ImageDataset,
        validation: ImageDataset | None,
        classes: Sequence[str],
        steps: int,
        matching: Mapping[str, str],
        progress: bool,
    ) -> None:
        """Make the folder, or find the same run there; keep other processes out of it.

        The run is what its checkpoint says. The other files are copies for readers: what is not as
        the run left it is put aside, and made anew.

        Args:
            training: Images to train on, all of which are read if they are not known.
            validation: Images to measure on.
            classes: Names of the network's outputs.
            steps: Steps of an epoch.
            matching: In words, how the classes of both were matched.
            progress: Show a bar while images are read.

        Raises:
            InputError: Another process trains there, or the folder holds another run, or files of
                something else.
        """
        if self.path is None:
            return
        self._locked.enter_context(locked_folder(self.path))
        found = read_checkpoint(self.path)
        if found is None:
            check_new(self.path)
        self.about = {
            "identity": uuid.uuid4().hex if found is None else found[1]["about"]["identity"],
            "recipe": asdict(self.recipe),
            "classes": list(classes),
            "steps": steps,
            "training": _identified(training, matching.get("training"), progress),
            "validation": validation and _identified(validation, matching["validation"], progress),
        }
        if found is not None:
            check_same(self.path, found[1]["about"], self.about)
            restore_log(self.path / LOG, found[1])
            self.best = restored_best(self.path / BEST, found[1].get("best"))

    def start(self, device: torch.device, processes: int, steps: int) -> None:
        """Note a start in run.json after so many steps, and open the log and the trackers."""
        if self.path is None:
            return
        start = {
            "started": _now(),
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
        self._note(start)
        self._log = self.path / LOG
        if not steps:
            write_whole(self._log, b"")
        if "tensorboard" in self.trackers:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what an earlier process wrote of later steps is not shown
            self._tensorboard = SummaryWriter(str(self.path / "vonenet"), purge_step=steps + 1)
            self._tensorboard.add_text("recipe", f"```\n{self.recipe.as_toml()}\n```", steps)
        if "wandb" in self.trackers:
            self._wandb = import_module("wandb").init(
                project="vonenet",
                name=self.path.resolve().name,
                id=self.about["identity"],
                dir=str(self.path),
                resume="allow",
                config=asdict(self.recipe),
            )

    def log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Log the numbers that are not None, of a kind, "step" or "epoch", after so many steps."""
        if self._log is None:
            return
        append_own_lines(self._log, log_line(kind, step, values))
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        named = {f"{kind}/{name}": value for name, value in numbers.items()}
        if self._tensorboard is not None:
            for name, value in named.items():
                self._tensorboard.add_scalar(name, value, step)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(named, step)

    def export(self, name: str, write: Callable[[Path], object]) -> None:
        """Write weights into the folder, by a function of a path."""
        if self.path is None:
            return
        replace_whole(self.path / name, write)
        if name == BEST:
            self.best = size_and_checksum(self.path / name)

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint has to hold of the run, its log and its best weights."""
        log = None if self._log is None else size_and_checksum(self._log)
        return {"about": self.about, "log": log or [0, 0], "best": self.best}

    def finish(self) -> None:
        """Note in run.json when the run was finished."""
        if self.path is not None:
            self._note()

    def _note(self, start: Mapping[str, Any] | None = None) -> None:
        """Write recipe.toml, and add a start to run.json, or the time when the run is finished."""
        assert self.path is not None
        about = {name: self.about[name] for name in ("identity", "training", "validation")}
        before = restored_run(self.path)
        if start is None:
            changes = {"finished": before.get("finished") or _now()}
        else:
            changes = {"starts": [*before.get("starts", []), start], "finished": None}
        write_whole(self.path / RUN, sealed(before | about | changes, indent=2) + b"\n")
        write_whole(self.path / RECIPE, self.recipe.as_toml().encode())

    def close(self) -> None:
        """Tell the trackers that this process ends, and let others work in the folder."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()
        self._locked.close()


def _identified(images: ImageDataset, classes: str | None, progress: bool) -> dict[str, Any]:
    content = images.content_hash(progress=progress)
    return {"name": images.name, "images": len(images), "content": content, "classes": classes}


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

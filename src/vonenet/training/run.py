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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vonenet.errors import InputError
from vonenet.files import append_lines, write_whole, written
from vonenet.results import LOG, RECIPE, RUN, EpochRecord, current_versions
from vonenet.training.checkpoint import LAST, PREVIOUS
from vonenet.training.config import TrainingRecipe

TRACKERS = ("tensorboard", "wandb")
PACKAGES = ("torchvision", "timm", "numpy")


@dataclass(frozen=True)
class TrainingLog:
    """A finished training: its recipe and one record per epoch."""

    recipe: TrainingRecipe
    epochs: list[EpochRecord]


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
        # Only where the run is started, which is in the main process
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

    def open(self) -> None:
        """Make the folder, or find it there with the same recipe.

        Raises:
            InputError: It has a checkpoint of another recipe.
        """
        if self.path is None:
            return
        with written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        started = any((self.path / name).exists() for name in (LAST, PREVIOUS))
        if not (started and (self.path / RECIPE).exists()):
            write_whole(self.path / RECIPE, self.recipe.as_toml().encode())
            return
        there = asdict(TrainingRecipe.read(self.path / RECIPE))
        for table, fields in asdict(self.recipe).items():
            for name, value in fields.items():
                if there[table][name] != value and name != "workers":  # no number depends on those
                    raise InputError(
                        f"{self.path} holds a run with {table}.{name}={there[table][name]!r}, not "
                        f"{value!r}; allowed: the same recipe, or another folder"
                    )

    def start(self, device: torch.device, processes: int, epochs: int, steps: int) -> None:
        """Note a start in run.json, and open the log and the trackers.

        Lines of what comes after so many finished epochs and steps, which the run will do again,
        are removed from the log.
        """
        if self.path is None:
            return
        about = _read_json(self.path / RUN)
        about.setdefault("identity", uuid.uuid4().hex)
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
        about.setdefault("starts", []).append(start)
        _write_json(self.path / RUN, {**about, "finished": None})
        self._log = log = self.path / LOG
        if log.exists():
            done = {"step": steps, "epoch": epochs}
            entries = [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]
            kept = [entry for entry in entries if entry[entry["kind"]] <= done[entry["kind"]]]
            write_whole(log, "".join(json.dumps(entry) + "\n" for entry in kept).encode())
        if "tensorboard" in self.trackers:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step: what an earlier process wrote of later steps is not shown
            self._tensorboard = SummaryWriter(str(self.path / "vonenet"), purge_step=steps + 1)
            self._tensorboard.add_text("recipe", f"```\n{self.recipe.as_toml()}\n```", steps)
        if "wandb" in self.trackers:
            self._wandb = import_module("wandb").init(
                project="vonenet",
                name=self.path.resolve().name,
                id=about["identity"],
                dir=str(self.path),
                resume="allow",
                config=asdict(self.recipe),
            )

    def log(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Log the numbers that are not None, of a kind, "step" or "epoch", after so many steps."""
        if self._log is None:
            return
        present = {name: value for name, value in values.items() if value is not None}
        append_lines(self._log, json.dumps({"kind": kind, "step": step, **present}) + "\n")
        named = {f"{kind}/{name}": value for name, value in present.items()}
        if self._tensorboard is not None:
            for name, value in named.items():
                self._tensorboard.add_scalar(name, value, step)
            self._tensorboard.flush()
        if self._wandb is not None:
            self._wandb.log(named, step)

    def finish(self) -> None:
        """Note in run.json when the run was finished."""
        if self.path is not None:
            about = _read_json(self.path / RUN)
            _write_json(self.path / RUN, {**about, "finished": _now()})

    def close(self) -> None:
        """Tell the trackers that this process ends."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


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


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.exists() else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

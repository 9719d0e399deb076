"""The folder of a run: its recipe, what it ran on, and the weights that it keeps.

recipe.toml            what was asked for, every field
run.json               every start: when, on what machine, with which versions and code
log.jsonl              the numbers (log.py)
last/, previous/       checkpoints (checkpoints.py)
best.safetensors       weights of the epoch with the best validation
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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vonenet.errors import InputError
from vonenet.files import write_whole, written
from vonenet.results import current_versions
from vonenet.training.checkpoints import has_checkpoint
from vonenet.training.recipe import TrainingRecipe

RECIPE, RUN, BEST, MODEL = "recipe.toml", "run.json", "best.safetensors", "model.safetensors"
# What may change when a run goes on: its numbers do not depend on it.
DETAILS = frozenset({("data", "workers")})


def open_run(folder: Path, recipe: TrainingRecipe) -> None:
    """Makes the folder of a run, or finds it there with the same recipe.

    Raises:
        InputError: If it cannot be written, or has a checkpoint of another recipe.
    """
    path = folder / RECIPE
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and has_checkpoint(folder):
        _check_same(folder, TrainingRecipe.read(path), recipe)
    else:
        write_whole(path, recipe.as_toml().encode())


def _check_same(folder: Path, there: TrainingRecipe, here: TrainingRecipe) -> None:
    stored, given = there.tables(), here.tables()
    for table in given:
        for name in sorted(stored[table].keys() | given[table].keys()):
            old, new = stored[table].get(name), given[table].get(name)
            if old != new and (table, name) not in DETAILS:
                raise InputError(
                    f"{folder} holds a run with {table}.{name}={old!r}, not {new!r}; "
                    "allowed: the same recipe, or another folder"
                )


def note_start(folder: Path, processes: int, device: torch.device) -> None:
    """Adds a start to run.json.

    Raises:
        InputError: If it cannot be written.
    """
    path = folder / RUN
    before = json.loads(path.read_bytes()) if path.exists() else {}
    identity = before.get("identity") or uuid.uuid4().hex
    starts = [*before.get("starts", []), _start(processes, device)]
    _write(path, {"identity": identity, "starts": starts, "finished": None})


def run_identity(folder: Path) -> str:
    """A name that no other run has, the same after every start."""
    identity: str = json.loads((folder / RUN).read_bytes())["identity"]
    return identity


def note_end(folder: Path) -> None:
    """Writes into run.json when the run was finished.

    Raises:
        InputError: If it cannot be written.
    """
    path = folder / RUN
    _write(path, {**json.loads(path.read_bytes()), "finished": _now()})


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _start(processes: int, device: torch.device) -> dict[str, Any]:
    packages = ("torchvision", "timm", "accelerate", "numpy")
    return {
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
        "versions": current_versions() | {name: version(name) for name in packages},
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the code in use, or else of the working folder, and whether it was changed."""
    for folder in (Path(__file__).parent, Path.cwd()):
        commit = _git(folder, "rev-parse", "HEAD")
        if commit is not None:
            changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
            return {"folder": str(folder), "commit": commit, "changed": bool(changed)}
    return None


def _git(folder: Path, *words: str) -> str | None:
    """What git says; None where there is no git, no repository, no commit."""
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *words],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

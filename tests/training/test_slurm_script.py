"""examples/train.slurm with stand-ins for SLURM's commands: processes, real flags, requeueing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vonenet import cli

ROOT = Path(__file__).parents[2]
# Each task of srun; what it was told goes into a file of its own
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> srun-options; shift; done
status=0
for rank in 0 1 2 3; do
    SLURM_PROCID=$rank SLURM_LOCALID=$((rank % 2)) "$@" || status=$?
done
exit $status
"""
SCONTROL = """#!/bin/bash
if [ "$1 $2" = "show hostnames" ]; then printf 'node7\\nnode8\\n'; else echo "$@" >> asked; fi
"""
VONENET = """#!/usr/bin/env python3
import json, os, sys
names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"]
told = {"words": sys.argv[1:]} | {name: os.environ[name] for name in names}
json.dump(told, open(f"told-{os.environ['RANK']}.json", "w"))
sys.exit(int(os.environ["STATUS"]))
"""
ALLOCATION = {
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_NTASKS": "4",
    "SLURM_CPUS_PER_TASK": "9",
}
RECIPE = str(ROOT / "recipes" / "demo.toml")


def submitted(folder: Path, status: int, *more: str) -> tuple[int, list[dict[str, Any]]]:
    """The script's status where every process ends with this one, and what each was told."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "vonenet": VONENET}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = ALLOCATION | {"PATH": f"{folder}:{os.environ['PATH']}", "STATUS": str(status)}
    script = [ROOT / "examples" / "train.slurm", RECIPE, "my data", "runs/mine", *more]
    done = subprocess.run(["bash", *script], cwd=folder, env=environment)
    told = [json.loads((folder / f"told-{rank}.json").read_text()) for rank in range(4)]
    return done.returncode, told


def test_every_process_knows_its_place(tmp_path: Path) -> None:
    status, told = submitted(tmp_path, 0)
    assert status == 0
    assert [each["RANK"] for each in told] == ["0", "1", "2", "3"]
    assert [each["LOCAL_RANK"] for each in told] == ["0", "1", "0", "1"]
    for each in told:
        assert (each["WORLD_SIZE"], each["OMP_NUM_THREADS"]) == ("4", "9")
        assert (each["MASTER_ADDR"], each["MASTER_PORT"]) == ("node7", "23456")
    assert "--cpus-per-task=9" in (tmp_path / "srun-options").read_text().split()


@pytest.mark.parametrize(("more", "workers"), [((), 8), (("--workers", "3", "--epochs", "2"), 3)])
def test_the_command_is_a_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], workers: int
) -> None:
    """What is given after recipe, data and folder has the last word."""
    _, told = submitted(tmp_path, 75, *more)
    asked: list[Any] = []

    class StopError(Exception):
        pass

    def run_training(recipe: Any, *others: Any, **settings: Any) -> None:
        asked.extend([recipe.data.workers, *others])
        raise StopError

    monkeypatch.setattr("vonenet.cli.train.run_training", run_training)
    with pytest.raises(StopError):
        cli.main(told[3]["words"])
    assert asked == [workers, "my data", Path("runs/mine")]


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True)])
def test_only_a_stopped_run_is_put_back_into_the_queue(
    tmp_path: Path, status: int, requeued: bool
) -> None:
    """One that failed would fail again, for ever."""
    assert submitted(tmp_path, status)[0] == status
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == "requeue 123456\n" * requeued

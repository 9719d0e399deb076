"""examples/train.slurm with stand-ins for SLURM's commands: processes, real flags, requeueing."""

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
VONENET = """#!/bin/bash
printf '%s\\n' "$RANK $LOCAL_RANK $WORLD_SIZE" "$MASTER_ADDR:$MASTER_PORT" "$OMP_NUM_THREADS" \
    "$@" > told-$RANK
exit $STATUS
"""
ALLOCATION = {
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_NTASKS": "4",
    "SLURM_CPUS_PER_TASK": "9",
}
RECIPE = str(ROOT / "recipes" / "demo.toml")


def submitted(folder, status, *more):
    """The script's status where every process ends with this one, and what each was told."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "vonenet": VONENET}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = ALLOCATION | {"PATH": f"{folder}:{os.environ['PATH']}", "STATUS": str(status)}
    script = [ROOT / "examples" / "train.slurm", RECIPE, "my data", "runs/mine", *more]
    done = subprocess.run(["bash", *script], cwd=folder, env=environment)
    return done.returncode, [
        (folder / f"told-{rank}").read_text().splitlines() for rank in range(4)
    ]


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (75, True)])
def test_every_process_knows_its_place_and_only_a_stopped_run_is_put_back_into_the_queue(
    tmp_path, status, requeued
):
    """One that failed would fail again, for ever."""
    found, told = submitted(tmp_path, status)
    assert found == status
    assert [each[0] for each in told] == ["0 0 4", "1 1 4", "2 0 4", "3 1 4"]
    assert [each[1:3] for each in told] == [["node7:23456", "9"]] * 4
    assert "--cpus-per-task=9" in (tmp_path / "srun-options").read_text().split()
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == "requeue 123456\n" * requeued


@pytest.mark.parametrize(("more", "workers"), [((), 8), (("--workers", "3", "--epochs", "2"), 3)])
def test_the_command_is_a_real_one(tmp_path, monkeypatch, more, workers):
    """What is given after recipe, data and folder has the last word."""
    _, told = submitted(tmp_path, 75, *more)
    asked: list[Any] = []

    class StopError(BaseException):
        pass

    def run_training(recipe, *others, **settings):
        asked.extend([recipe.data.workers, *others])
        raise StopError

    monkeypatch.setattr("vonenet.cli.train.run_training", run_training)
    with pytest.raises(StopError):
        cli.main(told[3][3:])
    assert asked == [workers, "my data", Path("runs/mine")]

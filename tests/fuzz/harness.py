"""Runs cases in a server, restarts it after a hang or a crash, and judges each answer."""

import hashlib
import json
import os
import random
import select
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_S = 60.0
START_S = 300.0
STATUSES = {0, 1, 2, 75}  # done, refused, wrong usage, run again


@dataclass(frozen=True)
class Case:
    """Arguments of `vonenet`, run in a folder; files of it that the command may change."""

    arguments: list[str]
    outputs: tuple[str, ...] = ()


@dataclass
class Tally:
    """What came of the cases of a kind."""

    kind: str
    counts: Counter = field(default_factory=Counter)
    slowest: tuple[float, list[str]] = (0.0, [])
    faults: list[str] = field(default_factory=list)

    def __str__(self):
        found = ", ".join(f"{n} {what}" for what, n in sorted(self.counts.items()))
        slow = f"slowest {self.slowest[0]:.1f} s"
        return (
            f"{self.kind}: {self.counts.total()} cases, {found}, {slow}, {len(self.faults)} faults"
        )


class Server:
    """A process that runs commands; started when it is needed."""

    def __init__(self, home: Path):
        self.home, self.process = home, None
        self.log = home / "server.log"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "VONENET_HOME": str(self.home)}
        environment |= {"HOME": str(self.home), "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
        root = Path(__file__).parents[2]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.server"],
                cwd=root,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._answer(START_S) == b"ready\n", self.log.read_text()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def run(self, case: Case, folder: Path):
        """Return the answer; its status is "hang" or "crash" if there is none."""
        if self.process is None:
            self.start()
        order = {"arguments": case.arguments, "folder": str(folder), "timeout_s": TIMEOUT_S - 1}
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer(TIMEOUT_S)
        except BrokenPipeError:
            answer = b""
        if answer:
            return json.loads(answer)
        status = "hang" if answer is None else "crash"
        self.stop()
        return {"status": status, "err": self.log.read_text()[-4000:], "seconds": TIMEOUT_S}

    def _answer(self, timeout_s):
        """Return a line, b"" when the process has ended, None when time is up."""
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        return self.process.stdout.readline() if readable else None


def run_cases(
    kind: str,
    server: Server,
    template: Path,
    make: Callable[[random.Random, Path], Case],
    seed: int,
    count: int,
    work: Path,
) -> Tally:
    """Run cases, each in a copy of a folder that `make` changes, and judge them."""
    tally = Tally(kind)
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        folder = work / f"{number}"
        shutil.copytree(template, folder, symlinks=True)
        case = make(rng, folder)
        before = digests(folder)
        answer = server.run(case, folder)
        wrong = complaint(answer) or lost(before, digests(folder), case.outputs)
        outcome = "accepted" if answer["status"] == 0 else "refused"
        tally.counts[outcome if wrong is None else wrong] += 1
        tally.slowest = max(tally.slowest, (answer["seconds"], case.arguments))
        if wrong is None:
            shutil.rmtree(folder)
        else:
            text = f"{kind}, seed {seed}, case {number}: {wrong}\nvonenet {case.arguments}"
            tally.faults.append(f"{text}\nin {folder}\n{answer['err'][-3000:]}")
    return tally


def complaint(answer) -> str | None:
    """Return what is wrong with an answer; None if nothing is."""
    status, err = answer["status"], answer["err"]
    if status in ("hang", "crash"):
        return status
    if "Traceback (most recent call last)" in err or status not in STATUSES:
        return "traceback"
    lines = err.splitlines()
    if status != 0 and not (lines and lines[-1].startswith("vonenet: ")):
        return "refused without a line"
    return None


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file, and each link's target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def lost(before: dict[str, str], after: dict[str, str], outputs: Iterable[str]) -> str | None:
    """Return which file that was no output is gone or changed; None if none is."""
    allowed = tuple(outputs)
    for name, digest in before.items():
        if after.get(name) != digest and not name.startswith(allowed):
            return f"lost {name}"
    left = [name for name in after if Path(name).name.startswith(".new-")]
    return f"left {left[0]}" if left else None

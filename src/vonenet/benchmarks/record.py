"""What a benchmark measured: one measurement per case, with its goals, as JSON on disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vonenet.benchmarks.floors import Floor
from vonenet.benchmarks.machine import Machine
from vonenet.benchmarks.measure import Spread
from vonenet.errors import InputError

TIME, MEMORY = "time", "peak memory"


@dataclass(frozen=True)
class Goal:
    """A ratio of two contestants that is aimed at.

    Attributes:
        quantity: `TIME` or `MEMORY`.
        numerator: a contestant.
        denominator: the other.
        goal: the ratio aimed at.
        at_least: the ratio that must be reached; None where only the goal was set.
        more_is_better: whether the ratio is to be that or more, rather than that or less.
    """

    quantity: str
    numerator: str
    denominator: str
    goal: float
    at_least: float | None
    more_is_better: bool

    def reached(self, ratio: float) -> str:
        """`yes` for the goal, `at least` for the lesser one, or `no`."""
        if self._reaches(ratio, self.goal):
            return "yes"
        if self.at_least is not None and self._reaches(ratio, self.at_least):
            return "at least"
        return "no"

    def _reaches(self, ratio: float, wanted: float) -> bool:
        return ratio >= wanted if self.more_is_better else ratio <= wanted


@dataclass(frozen=True)
class Measurement:
    """One case, measured.

    Attributes:
        task: what was done.
        explanation: in a sentence.
        batch: number of images.
        image_px: their height and width.
        seconds: contestant -> seconds of each round; none of a case that was not timed.
        peak_bytes: contestant -> most memory allocated during the call, above that before.
        floor: what cannot be done without; None where that is not known.
        goals: ratios aimed at.
    """

    task: str
    explanation: str
    batch: int
    image_px: int
    seconds: Mapping[str, list[float]]
    peak_bytes: Mapping[str, int]
    floor: Floor | None
    goals: tuple[Goal, ...] = ()

    def spread(self, contestant: str) -> Spread | None:
        """Seconds of a contestant; None if it was not timed."""
        seconds = self.seconds.get(contestant)
        return Spread.of(seconds) if seconds else None

    def ratio(self, quantity: str, numerator: str, denominator: str) -> Spread | None:
        """The ratio of two contestants, of time round by round; None if it was not measured."""
        values = self.seconds if quantity == TIME else self._peaks()
        if not values.get(numerator) or not values.get(denominator):
            return None
        pairs = zip(values[numerator], values[denominator], strict=True)
        return Spread.of([above / below for above, below in pairs])

    def _peaks(self) -> dict[str, list[float]]:
        return {name: [float(peak)] for name, peak in self.peak_bytes.items()}


@dataclass(frozen=True)
class Record:
    """One run of the benchmark on one machine.

    Attributes:
        machine: where.
        date: year, month, day.
        seed: of weights, images and noise.
        measurements: in the order of the cases.
    """

    machine: Machine
    date: str
    seed: int
    measurements: tuple[Measurement, ...]

    def floor_seconds(self, measurement: Measurement) -> tuple[float, float] | None:
        """Seconds that a case's operations take at the machine's best rate, and its bytes."""
        floor = measurement.floor
        if floor is None:
            return None
        operations = floor.operations / self.machine.matrix_rate
        return operations, floor.moved_bytes / self.machine.bandwidth

    def write(self, folder: Path) -> Path:
        """Write the record to a JSON file of `folder`, named after the machine."""
        path = folder / f"{self.machine.slug}.json"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Record:
        """The record that `write` wrote.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            measurements = tuple(_measurement(each) for each in values["measurements"])
            machine = Machine(**values["machine"])
            return cls(machine, values["date"], values["seed"], measurements)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is not a record of the benchmark: {error}") from error


def _measurement(values: dict[str, Any]) -> Measurement:
    goals = tuple(Goal(**goal) for goal in values["goals"])
    floor = Floor(**values["floor"]) if values["floor"] else None
    return Measurement(**{**values, "floor": floor, "goals": goals})

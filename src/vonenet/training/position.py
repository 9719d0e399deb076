"""Where a run is: epoch, step, the sums of the epoch so far, the records of those before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from vonenet.training.log import EpochRecord


@dataclass
class Position:
    """How far a run has come; all that is random in it follows from epoch and step.

    Attributes:
        epoch: From 0; the number of finished epochs.
        step: Steps taken of this epoch. When all are taken, its validation is still to come.
        loss: Summed over the images of this epoch.
        hits: Right decisions in this epoch.
        seen: Images of this epoch.
        seconds: Training time of this epoch.
        rate: Learning rate of the last step.
        records: Of the finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    records: list[EpochRecord] = field(default_factory=list)

    @property
    def best(self) -> float | None:
        """The best validation so far."""
        found = [each.validation_accuracy for each in self.records]
        return max((each for each in found if each is not None), default=None)

    def add(self, loss: float, hits: int, images: int, rate: float) -> None:
        """Counts a step."""
        self.step += 1
        self.loss += loss * images
        self.hits += hits
        self.seen += images
        self.rate = rate

    def finish_epoch(self, validation_accuracy: float | None) -> EpochRecord:
        """Counts an epoch; returns its record."""
        record = EpochRecord(
            epoch=self.epoch + 1,
            loss=self.loss / self.seen,
            accuracy=self.hits / self.seen,
            learning_rate=self.rate,
            images_per_second=self.seen / self.seconds,
            seconds=self.seconds,
            validation_accuracy=validation_accuracy,
        )
        self.records.append(record)
        self.epoch += 1
        self.step = self.hits = self.seen = 0
        self.loss = self.seconds = self.rate = 0.0
        return record

    def facts(self) -> dict[str, Any]:
        """As JSON has it; `from_facts` gives an equal position back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Self:
        """A position from what `facts` gave."""
        records = [EpochRecord(**record) for record in facts["records"]]
        return cls(**{**facts, "records": records})

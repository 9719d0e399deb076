"""The loop over epochs and steps, and what happens between them: log, checkpoints, validation."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import torch
from torch import nn
from tqdm import tqdm

from vonenet.errors import Preempted, VOneNetError
from vonenet.training.batches import Loader
from vonenet.training.interruption import Signals
from vonenet.training.keeping import Keeper
from vonenet.training.log import RunLog
from vonenet.training.position import Position
from vonenet.training.processes import wait_for_all
from vonenet.training.run_folder import BEST
from vonenet.training.schedule import learning_rate_at
from vonenet.training.stepping import Numbers, Pending, Stepper
from vonenet.training.validation import Validation

Bar: TypeAlias = "tqdm[Any]"
LOG_STEPS = 50  # from one line of the log to the next
# A GPU gets so many more steps before the numbers of one are read, so that it never waits.
LAG = {"cuda": 1}


@dataclass
class Run:
    """A training under way.

    Attributes:
        stepper: takes steps.
        loader: micro-batches from the position to the end.
        validation: measures after every epoch, if there are images.
        keeper: saves.
        log: tells.
        position: where the run is.
        signals: what was asked for from outside.
        checkpoint_seconds: from one checkpoint within an epoch to the next.
        bar: shows progress.
        label: what the bar calls the run.
    """

    stepper: Stepper
    loader: Loader
    validation: Validation | None
    keeper: Keeper
    log: RunLog
    position: Position
    signals: Signals
    checkpoint_seconds: float
    bar: Bar
    label: str
    _pending: deque[Pending] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.accelerator = self.stepper.accelerator
        self.recipe = self.stepper.recipe.optimization
        self.lag = LAG.get(self.accelerator.device.type, 0)
        self.preempted = self.interrupted = self.due = False
        self.saved_at = self.mark = time.monotonic()

    def go(self) -> None:
        """Trains from the position to the end."""
        batches = iter(self.loader)
        while self.position.epoch < self.recipe.epochs:
            self.train_epoch(batches)
            self.finish_epoch()

    def train_epoch(self, batches: Iterator[Any]) -> None:
        """The steps of an epoch that are still to be taken."""
        position = self.position
        self.bar.set_description(f"{self.label}, epoch {position.epoch + 1}/{self.recipe.epochs}")
        self.stepper.begin()
        self.mark = time.monotonic()
        for step in range(position.step, self.stepper.plan.steps):
            self._pending.append(self.stepper.step(position.epoch, step, batches, self.flags))
            self.settle(self.lag)
            if self.preempted or self.interrupted:
                self.leave()
            if self.due:
                self.save()
        self.settle()

    def finish_epoch(self) -> None:
        """Validation, log and checkpoint after an epoch."""
        accuracy = None
        with self.shown_model() as model:
            if self.validation is not None:
                accuracy = self.validation.accuracy(model, self.position.epoch, self.must_leave)
            best = self.position.best
            if accuracy is not None and (best is None or accuracy > best):
                self.keeper.export(BEST)
        if self.preempted or self.interrupted:
            self.leave()
        record = self.position.finish_epoch(accuracy)
        self.log.write("epoch", self.steps_taken, vars(record))
        self.save()

    def settle(self, waiting: int = 0) -> None:
        """Accounts for steps until only so many wait."""
        while len(self._pending) > waiting:
            self.account(self._pending.popleft().read())

    def account(self, numbers: Numbers) -> None:
        """Checks and counts a finished step.

        Raises:
            VOneNetError: if its loss is not finite.
        """
        position, plan = self.position, self.stepper.plan
        rate = learning_rate_at(self.recipe, position.epoch + (position.step + 0.5) / plan.steps)
        self.check(numbers.loss, rate)
        preempted, interrupted, due = (flag > 0 for flag in numbers.flags)
        self.preempted |= preempted
        self.interrupted |= interrupted
        self.due |= due
        position.add(numbers.loss, numbers.hits, plan.step_images, rate)
        now = time.monotonic()
        position.seconds += now - self.mark
        self.mark = now
        self.bar.set_postfix(loss=f"{position.loss / position.seen:.3f}", refresh=False)
        self.bar.update(plan.step_images)
        if self.steps_taken % LOG_STEPS == 0:
            values = {
                "epoch": position.epoch + 1,
                "loss": numbers.loss,
                "learning_rate": rate,
                "images_per_second": position.seen / position.seconds,
                "gradient_norm": numbers.gradient_norm,
            }
            self.log.write("step", self.steps_taken, values)

    def check(self, loss: float, rate: float) -> None:
        """Refuses to go on with a loss that is not finite."""
        if math.isfinite(loss):
            return
        hint = ", precision 'bfloat16'" if self.recipe.precision == "float16" else ""
        raise VOneNetError(
            f"the loss is {loss} at step {self.position.step + 1} of epoch "
            f"{self.position.epoch + 1}, learning rate {rate:g}; a lower learning_rate, a warm-up "
            f"(warmup_epochs), clip_norm{hint} in [optimization] usually help"
        )

    def flags(self) -> list[float]:
        """What this process was asked for; of checkpoints the first one's clock decides."""
        late = time.monotonic() - self.saved_at > self.checkpoint_seconds
        due = late and self.accelerator.is_main_process
        return [float(self.signals.preempted), float(self.signals.interrupted), float(due)]

    def save(self) -> None:
        """A checkpoint, of all steps that were taken."""
        self.settle()
        self.keeper.save(self.position)
        self.due = False
        self.saved_at = self.mark = time.monotonic()

    def must_leave(self) -> bool:
        """Whether any process was asked to stop; the same in every process."""
        own = self.flags()[:2]
        if self.accelerator.num_processes > 1:
            flags = torch.tensor(own, device=self.accelerator.device)
            own = self.accelerator.reduce(flags, "sum").tolist()
        self.preempted, self.interrupted = (flag > 0 for flag in own)
        return self.preempted or self.interrupted

    def leave(self) -> NoReturn:
        """Saves and stops.

        Raises:
            KeyboardInterrupt: after a Ctrl-C.
            Preempted: after SIGTERM.
        """
        self.save()
        wait_for_all(self.accelerator)
        if self.interrupted:
            raise KeyboardInterrupt
        raise Preempted(
            f"stopped by SIGTERM at step {self.position.step} of epoch {self.position.epoch + 1} "
            f"and saved in {self.keeper.run}; the same command goes on from there"
        )

    @contextmanager
    def shown_model(self) -> Iterator[nn.Module]:
        """Within: the model as it would be used now, in eval mode, with averaged weights."""
        model = self.stepper.network.queried.eval()
        if self.stepper.average is None:
            yield model
        else:
            with self.stepper.average.applied():
                yield model

    @property
    def steps_taken(self) -> int:
        """Since the beginning of the run."""
        return self.position.epoch * self.stepper.plan.steps + self.position.step

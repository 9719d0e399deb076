"""Training of any model that takes pixels: set-up, loop, step, validation, in this order.

Everything random is a function of the position in the run, so a run that was killed goes on from
its checkpoint to the same bits, and the number of workers and of processes changes nothing but the
speed.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vonenet.bars import progress_bar
from vonenet.data.dataset import ImageDataset
from vonenet.data.pixels import classes_of, inner_model
from vonenet.data.seeding import seed_at, seed_torch, seeded
from vonenet.errors import CheckpointError, InputError, Preempted, VOneNetError
from vonenet.results import BEST, MODEL, EpochRecord
from vonenet.robustness.sampling import averaged_probabilities
from vonenet.training.augment import TrainingImages, attacked, mixed
from vonenet.training.checkpoint import TrainingState, read_checkpoint, write_checkpoint
from vonenet.training.config import TrainingRecipe
from vonenet.training.distributed import (
    BatchStatistics,
    ProcessGroup,
    micro_batch_sampler,
    process_group,
)
from vonenet.training.optim import build_optimizer, keep_frozen_in_eval, learning_rate_at
from vonenet.training.run import RunFolder, TrainingLog

LOG_STEPS = 50  # from one line of the log to the next
MOST_VALIDATED = 256  # images of a validation batch, which needs less memory than a training step's

Export = Callable[[nn.Module, Path], object]


def export_state_dict(model: nn.Module, path: Path) -> None:
    """Write a model's state dict as safetensors."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(state))


def train(
    model: nn.Module,
    dataset: ImageDataset,
    recipe: TrainingRecipe,
    *,
    validation: ImageDataset | None = None,
    out: Path | str | None = None,
    export: Export = export_state_dict,
    progress: bool = True,
    label: str = "training",
    trackers: Sequence[str] = (),
    checkpoint_minutes: float = 10.0,
    device: str = "auto",
) -> TrainingLog:
    """Train a model in place, and leave it in eval mode on the device where it was trained.

    Under `torchrun` the processes share each batch. The run depends on model, data and recipe
    alone: not on the number of processes (at equal `micro_batch_size`) or workers, and not on
    torch's global generators, which are left as they were.

    With `out`, the run is kept in that folder: recipe, log, checkpoints, weights (see run.py). The
    same call goes on where the run in the folder stopped; if it is finished, it gives its log and
    weights. So does a call for more epochs, where the schedule does not depend on their number. The
    data must be the same: all images are read once, unless they are known from before. SIGTERM and
    Ctrl-C finish the step and save.

    Classes are matched by name: of the images with those of the model, if it is a `PixelModel` that
    has them, and of validation images with those trained on, of which some may be missing.

    Args:
        model: Takes pixels in [0, 1]. Only parameters that require a gradient are trained.
        dataset: Training images. A last batch that is not full is left out in each epoch.
        recipe: How to train; the caller has read `recipe.model` and most of `recipe.data`.
        validation: Images to measure after every epoch.
        out: Folder of the run; nothing is written without.
        export: Writes weights to a path; the state dict as safetensors if not given.
        progress: Show a line for each epoch and, on a terminal, a bar over the whole run.
        label: Name of the run there.
        trackers: "tensorboard" (in `out`), "wandb".
        checkpoint_minutes: Time between checkpoints within an epoch; there is one after each epoch.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".

    Raises:
        InputError: Recipe, model, data and processes do not fit each other, the folder holds
            another run or is in use, or it cannot be written.
        KeyboardInterrupt: After Ctrl-C; with `out`, it says where the run was saved.
        Preempted: After SIGTERM, with `out`.
        VOneNetError: The loss stops being finite.
    """
    if not 0 <= checkpoint_minutes < math.inf:
        raise InputError(f"checkpoint_minutes={checkpoint_minutes}; allowed: 0 or more, finite")
    folder = RunFolder(None if out is None else Path(out), recipe, trackers)
    with (
        process_group(device) as group,
        seeded(recipe.optimization.seed, group.device),
        noted_signals(out is not None) as signals,
        closing(folder),
        closing(
            Trainer(model, dataset, recipe, group, signals, folder, validation, export)
        ) as trainer,
    ):
        about = trainer.dataset.classes, trainer.sampler.steps, trainer.matching, progress
        group.main_process_first(lambda: folder.open(dataset, validation, *about))
        if progress and validation is not None and group.rank == 0:
            matched = f"{label}, validation on {validation.name}: {trainer.matching['validation']}"
            tqdm.write(matched, file=sys.stderr)
        trainer.resume()
        state = trainer.state
        unfinished = state.epoch < recipe.optimization.epochs
        if unfinished:
            place = group.device, group.size, trainer.steps_taken
            group.main_process_first(lambda: folder.start(*place))
            trainer.fit(60 * checkpoint_minutes, label if progress else None)
        if trainer.average is not None:
            model.load_state_dict(trainer.average.module.state_dict())
        trainer.export(model, MODEL)
        group.main_process_first(folder.finish)
    model.eval()
    return TrainingLog(recipe, state.records, already_finished=not unfinished)


def _penalty_of(model: nn.Module, weight: float) -> Callable[[], Tensor]:
    """Return a model's penalty; refuse a weight for a model that has none."""
    network: Any = inner_model(model)
    penalty: Callable[[], Tensor] = getattr(network, "distribution_penalty", torch.zeros(()).clone)
    if weight and not hasattr(network, "distribution_penalty"):
        raise InputError(
            f"optimization.distribution_penalty={weight:g}, but a {type(network).__name__} has no "
            "V1; allowed: 0"
        )
    if weight:
        penalty()
    return penalty


class Trainer:
    """The parts of a training and the loop; the signals are those of `noted_signals`."""

    def __init__(
        self,
        model: nn.Module,
        dataset: ImageDataset,
        recipe: TrainingRecipe,
        group: ProcessGroup,
        signals: Mapping[int, bool],
        folder: RunFolder,
        validation: ImageDataset | None = None,
        export: Export = export_state_dict,
    ) -> None:
        settings, device = recipe.optimization, group.device
        if settings.precision == "float16" and device.type == "cpu":
            raise InputError(
                "optimization.precision='float16' needs a GPU; allowed on the CPU: 'float32', "
                "'bfloat16'"
            )
        self.recipe, self.group, self.signals, self.folder = recipe, group, signals, folder
        self.write_weights = export
        self.loaders: list[DataLoader[Any]] = []
        self.matching: dict[str, str] = {}  # in words, how classes were found in each part
        if (names := classes_of(model)) is not None:
            dataset, self.matching["training"] = dataset.matched(names, len(names))
        if validation is not None:
            names = dataset.classes
            validation, self.matching["validation"] = validation.matched(names, len(names))
        self.dataset, self.validation = dataset, validation
        self.sampler = micro_batch_sampler(len(dataset), settings, group)
        self.images = TrainingImages(
            dataset, recipe.augmentation, recipe.data.image_size, settings.seed
        )
        if validation is not None:
            size = min(settings.micro_batch_size or settings.batch_size, MOST_VALIDATED)
            self.validation_batches = torch.split(torch.arange(len(validation)), size)
            own = self.validation_batches[group.rank :: group.size]
            self.validation_loader = self.loader(validation, [batch.tolist() for batch in own])
        self.format = torch.channels_last if settings.channels_last else torch.preserve_format
        self.model = model.to(device).to(memory_format=self.format)
        self.optimizer = build_optimizer(model, settings)
        self.trained = [each for part in self.optimizer.param_groups for each in part["params"]]
        self.penalty = _penalty_of(model, settings.distribution_penalty)
        self.parallel = group.parallel(model)
        precision = getattr(torch, settings.precision)
        mixed_precision = precision != torch.float32
        self.autocast = partial(torch.autocast, device.type, precision, enabled=mixed_precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self.state, self.average = TrainingState(), None
        # What a checkpoint holds
        parts = {"model": model, "optimizer": self.optimizer, "scaler": self.scaler}
        self.parts: dict[str, Any] = parts
        if settings.ema_decay is not None:
            self.average = ModelEmaV3(model, settings.ema_decay, stochastic_rounding=False)
            self.parts["average"] = self.average.module

    def fit(self, checkpoint_seconds: float = math.inf, label: str | None = None) -> None:
        """Train from the present state to the end, and show progress if it has a label."""
        state, sampler, epochs = self.state, self.sampler, self.recipe.optimization.epochs
        rest = dataclasses.replace(sampler, start=(state.epoch, state.step))
        batches = iter(self.loader(self.images, rest))
        self.saved_at = time.monotonic()
        shown = label is not None and self.group.rank == 0
        with progress_bar(
            total=epochs * sampler.steps * sampler.step_images,
            initial=self.steps_taken * sampler.step_images,
            unit="img",
            shown=shown,
        ) as bar:
            while state.epoch < epochs:
                bar.set_description(f"{label}, epoch {state.epoch + 1}/{epochs}")
                self.train_epoch(batches, bar, checkpoint_seconds)
                model = self.model if self.average is None else self.average.module
                hits = self.validate(model.eval())
                earlier = [each.validation_accuracy for each in state.records]
                best = max((each for each in earlier if each is not None), default=-1.0)
                record = state.finish_epoch(hits, len(self.validation or ()))
                accuracy = record.validation_accuracy
                if accuracy is not None and accuracy > best:
                    self.export(model, BEST)
                self.folder.log("epoch", self.steps_taken, vars(record))
                self.save()
                if shown:
                    text = f"{label}, epoch {record.epoch}/{epochs}: loss {record.loss:.3f}"
                    text += f", validation accuracy {record.validation_text}" * (hits is not None)
                    tqdm.write(text, file=sys.stderr)

    def train_epoch(self, batches: Iterator[Any], bar: tqdm[Any], save_every: float) -> None:
        """Take the steps of an epoch that are still to be taken; save every so many seconds."""
        state, sampler, settings = self.state, self.sampler, self.recipe.optimization
        self.model.train()
        keep_frozen_in_eval(self.model, settings.frozen)
        statistics = BatchStatistics(self.model)
        for step in range(state.step, sampler.steps):
            started = time.monotonic()
            self.optimizer.zero_grad()
            found = self.backward(batches, statistics, step)
            late = self.group.rank == 0 and started - self.saved_at > save_every
            numbers = torch.cat([found, found.new_tensor([*self.signals.values(), late])])
            self.group.average(numbers, *statistics.moving)
            norm = None
            if settings.clip_norm is not None:
                self.scaler.unscale_(self.optimizer)
                norm = nn.utils.clip_grad_norm_(self.trained, settings.clip_norm)
            # The middle of the step, so that no step of a warm-up has learning rate 0
            rate = learning_rate_at(settings, state.epoch + (step + 0.5) / sampler.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.average is not None:
                self.average.update(self.model)

            loss, hits, preempted, interrupted, checkpoint_due = numbers.tolist()
            if not math.isfinite(loss):
                raise VOneNetError(
                    f"the loss is {loss} at step {step + 1} of epoch {state.epoch + 1}, learning "
                    f"rate {rate:g}; a lower learning_rate, a warm-up (warmup_epochs), clip_norm "
                    "or, for float16, precision 'bfloat16' in [optimization] usually help"
                )
            state.step += 1
            state.loss += loss * sampler.step_images
            state.hits += round(hits * self.group.size)
            state.seen += sampler.step_images
            state.seconds += time.monotonic() - started
            state.rate = rate
            bar.set_postfix(loss=f"{state.loss / state.seen:.3f}", refresh=False)
            bar.update(sampler.step_images)
            if self.steps_taken % LOG_STEPS == 0:
                entry = {
                    "epoch": state.epoch + 1,
                    "loss": loss,
                    "learning_rate": rate,
                    "images_per_second": state.seen / state.seconds,
                    "gradient_norm": None if norm is None else float(norm),
                }
                self.folder.log("step", self.steps_taken, entry)
            self.stop_if(preempted, interrupted)
            if checkpoint_due:
                self.save()

    def backward(self, batches: Iterator[Any], statistics: BatchStatistics, step: int) -> Tensor:
        """Add up the gradients of this process's micro-batches of a step.

        Returns:
            Mean loss and number of right decisions, (2,), on the device.
        """
        settings, device = self.recipe.optimization, self.group.device
        smoothing, own = settings.label_smoothing, self.sampler.own
        found = []
        for number in statistics.averaged_over(own):
            pixels, labels = next(batches)
            seed = seed_at(settings.seed, "micro-batch", self.state.epoch, step, number)
            seed_torch(seed, device)
            pixels = pixels.to(device, non_blocking=True, memory_format=self.format)
            labels = labels.to(device, non_blocking=True)
            mixing = self.recipe.augmentation, len(self.dataset.classes), smoothing
            pixels, targets = mixed(pixels, labels, *mixing, seed)
            with self.autocast():
                pixels = attacked(self.model, pixels, targets, self.recipe.adversarial)
            if isinstance(self.parallel, DistributedDataParallel):  # send gradients once a step
                self.parallel.require_backward_grad_sync = number == own[-1]
            with self.autocast():
                logits = self.parallel(pixels)
            if logits.shape[1:] != (len(self.dataset.classes),):
                raise InputError(
                    f"the network gives {tuple(logits.shape[1:])} outputs for an image; needed: "
                    f"{len(self.dataset.classes)}, one for each class"
                )
            if settings.precision != "float32":
                logits = logits.float()
            # Mixed labels are smoothed already
            rest = smoothing if targets.ndim == 1 else 0.0
            loss = cross_entropy(logits, targets, label_smoothing=rest)
            if settings.distribution_penalty:
                loss = loss + settings.distribution_penalty * self.penalty()
            self.scaler.scale(loss / len(own)).backward()  # type: ignore[no-untyped-call]
            right = targets if targets.ndim == 1 else targets.argmax(dim=1)
            hits = (logits.detach().argmax(dim=1) == right).sum()
            found.append(torch.stack([loss.detach(), hits.to(loss.dtype)]))
        losses, hits = torch.stack(found).unbind(dim=1)
        return torch.stack([losses.mean(), hits.sum()])

    @torch.no_grad()
    def validate(self, model: nn.Module) -> int | None:
        """Return the number of right decisions on the validation images; None without any.

        Batches and noise depend on the recipe and the epoch alone. The model is in eval mode.
        """
        if self.validation is None:
            return None
        settings, device = self.recipe.optimization, self.group.device
        hits = torch.zeros(1, device=device)
        batches = iter(self.validation_loader)
        for first in range(0, len(self.validation_batches), self.group.size):
            asked = torch.tensor([*self.signals.values()], dtype=torch.float32, device=device)
            self.group.average(asked)
            self.stop_if(*asked.tolist())
            number = first + self.group.rank
            if number < len(self.validation_batches):
                pixels, labels = next(batches)
                seed_torch(seed_at(settings.seed, "validation", self.state.epoch, number), device)
                with self.autocast():
                    probabilities = averaged_probabilities(
                        model, pixels.to(device, non_blocking=True), settings.decision_samples
                    )
                hits += (probabilities.argmax(dim=1) == labels.to(device)).sum()
        self.group.average(hits)
        return round(float(hits) * self.group.size)

    def loader(self, images: Dataset[Any], batches: Iterable[Any]) -> DataLoader[Any]:
        """Return a loader of these batches, in their order."""
        workers = self.recipe.data.workers
        loader = DataLoader(
            images,
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.group.device.type == "cuda",
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # else it would draw from the global one
        )
        self.loaders.append(loader)
        return loader

    def close(self) -> None:
        """End the processes that load images.

        An exception that somebody keeps would keep them, and they hear no signal.
        """
        for loader in self.loaders:
            getattr(loader._iterator, "_shutdown_workers", bool)()

    def export(self, model: nn.Module, name: str) -> None:
        """Write a model's weights into the folder of the run, if there is one."""
        write = partial(self.write_weights, model)
        self.group.main_process_first(lambda: self.folder.export(name, write))

    def save(self) -> None:
        """Make a checkpoint, if there is a folder; raises as `write_checkpoint` does."""
        run = self.folder.path
        if run is not None:
            parts = {name: part.state_dict() for name, part in self.parts.items()}
            self.group.main_process_first(
                lambda: write_checkpoint(
                    run, parts, {**self.folder.facts(), "state": dataclasses.asdict(self.state)}
                )
            )
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one.

        Raises:
            CheckpointError: It is of another network.
        """
        checkpoint = None if self.folder.path is None else read_checkpoint(self.folder.path)
        if checkpoint is None:
            return
        tensors, facts = checkpoint
        try:
            for name, part in self.parts.items():
                part.load_state_dict(tensors[name])
        except (KeyError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"the checkpoint is of another network: {reason}") from error
        records = [EpochRecord(**record) for record in facts["state"].pop("records")]
        self.state = TrainingState(**facts["state"], records=records)

    def stop_if(self, preempted: float, interrupted: float) -> None:
        """Save and raise, if any process was asked to stop."""
        if not (preempted or interrupted):
            return
        self.save()
        self.group.wait()
        where = (
            f"at step {self.state.step} of epoch {self.state.epoch + 1} and saved in "
            f"{self.folder.path}; the same command goes on from there"
        )
        if interrupted:
            raise KeyboardInterrupt(f"stopped {where}")
        raise Preempted(f"stopped by SIGTERM {where}")

    @property
    def steps_taken(self) -> int:
        """Steps since the beginning of the run."""
        return self.state.epoch * self.sampler.steps + self.state.step


@contextmanager
def noted_signals(wanted: bool) -> Iterator[dict[int, bool]]:
    """Note SIGTERM and the first Ctrl-C inside the block, if wanted; a second Ctrl-C acts at once.

    Outside of the main thread Python hands out no signals, and nothing is noted.
    """
    noted: dict[int, bool] = {signal.SIGTERM: False, signal.SIGINT: False}
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted[number] = True
        if number == signal.SIGINT:
            signal.signal(number, before[number] or signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in noted}
    try:
        for number in noted:
            signal.signal(number, note)
        yield noted
    finally:
        for number, handler in before.items():
            # None: it was not Python that handled the signal before, and cannot be set by Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _outlive_signals(worker: int) -> None:
    # A scheduler signals every process of a job; loaders that died of it would take the training
    # with them before it has saved.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

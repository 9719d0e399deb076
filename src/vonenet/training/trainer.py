"""Training of any model that takes pixels: `train`; the loop itself is in loop.py.

Everything random is a function of the position in the run, so a run that was killed goes on from
its checkpoint to the same bits, and the number of workers and of processes changes nothing but the
speed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import nn
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset
from vonenet.data.seeding import seeded
from vonenet.errors import InputError
from vonenet.training.augment import TrainingImages
from vonenet.training.averaging import WeightAverage
from vonenet.training.batches import Remaining, plan_batches, training_loader
from vonenet.training.interruption import noted_signals
from vonenet.training.keeping import Export, Keeper, export_state_dict
from vonenet.training.log import RunLog, TrainingLog, start_trackers
from vonenet.training.loop import Run
from vonenet.training.optimizers import build_optimizer
from vonenet.training.parameters import trained_groups
from vonenet.training.processes import accelerated, first_alone, placed, prepared, scaled
from vonenet.training.recipe import TrainingRecipe
from vonenet.training.run_folder import MODEL, note_end, note_start, open_run
from vonenet.training.stepping import Stepper
from vonenet.training.validation import Validation


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
    shard: bool = False,
) -> TrainingLog:
    """Trains a model in place, and leaves it in eval mode on the device where it was trained.

    Under `torchrun` or `accelerate launch` the processes share each batch. The run depends on
    model, data and recipe alone: not on the number of processes (at equal `micro_batch_size`) or
    workers, and not on torch's global generators, which are left as they were.

    With `out`, the run is kept in that folder: recipe, log, checkpoints, weights (run_folder.py).
    The same call goes on where the run in the folder stopped; if it is finished, it gives its log
    and weights. SIGTERM and Ctrl-C finish the step and save.

    Args:
        model: Takes pixels in [0, 1], usually a `PixelModel`. Only parameters that require a
            gradient are trained.
        dataset: Training images. In each epoch the last batch is left out if it is not full,
            unless it is the only one.
        recipe: How to train; `recipe.model`, and where the data come from, are the caller's.
        validation: Images to measure after every epoch.
        out: Folder of the run; nothing is written without.
        export: Writes weights to a path; the state dict as safetensors if not given.
        progress: Show a progress bar over the whole run.
        label: What the progress bar calls the run.
        trackers: "tensorboard" (in `out`), "wandb".
        checkpoint_minutes: Time between checkpoints within an epoch; there is one after each epoch.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        shard: Share weights, gradients and optimizer memory out among the processes (FSDP2).

    Raises:
        InputError: If recipe, model, data and processes do not fit each other, the folder holds
            another run, or cannot be written.
        Preempted: After SIGTERM, with `out`.
        VOneNetError: If the loss stops being finite.
    """
    run = None if out is None else Path(out)
    if trackers and run is None:
        raise InputError(f"trackers={list(trackers)} write into the folder of a run; needed: out")
    descent = recipe.optimization
    with (
        accelerated(device, descent.precision, trackers, run) as accelerator,
        seeded(descent.seed, accelerator.device),
        noted_signals(run is not None) as signals,
    ):
        rank, processes = accelerator.process_index, accelerator.num_processes
        plan = plan_batches(len(dataset), descent, rank, processes)
        images = TrainingImages(dataset, recipe.augmentation, recipe.data.image_size, descent.seed)
        network = placed(accelerator, model, channels_last=descent.channels_last, shard=shard)
        optimizer = build_optimizer(trained_groups(network.model, descent), descent)
        average = None
        if descent.ema_decay is not None:
            average = WeightAverage(network.model, descent.ema_decay)
        stepper = Stepper(
            accelerator=accelerator,
            recipe=recipe,
            plan=plan,
            num_classes=len(dataset.classes),
            network=network,
            model=prepared(accelerator, network),
            optimizer=scaled(accelerator, optimizer),
            average=average,
        )
        keeper = Keeper(accelerator, run, model, network, average, optimizer, len(dataset), export)
        if run is not None:
            first_alone(accelerator, lambda: open_run(run, recipe))
        position = keeper.resume()
        if position.epoch < descent.epochs:
            done = position.epoch * plan.steps + position.step
            if run is not None:
                first_alone(accelerator, lambda: note_start(run, processes, accelerator.device))
            start_trackers(accelerator, recipe, run, done)
            loader = training_loader(
                images,
                Remaining(plan, position.epoch, position.step),
                recipe.data.workers,
                pinned=accelerator.device.type == "cuda",
            )
            with tqdm(
                total=descent.epochs * plan.steps * plan.step_images,
                initial=done * plan.step_images,
                unit="img",
                mininterval=0.1 if sys.stderr.isatty() else 60,  # in the log of a job
                disable=not (progress and accelerator.is_main_process),
            ) as bar:
                Run(
                    stepper=stepper,
                    loader=loader,
                    validation=None
                    if validation is None
                    else Validation(accelerator, validation, recipe),
                    keeper=keeper,
                    log=RunLog(accelerator, run, position.epoch, done),
                    position=position,
                    signals=signals,
                    checkpoint_seconds=60 * checkpoint_minutes if run else math.inf,
                    bar=bar,
                    label=label,
                ).go()
        if average is not None:
            average.keep()
        keeper.hand_back()
        keeper.export(MODEL)
        if run is not None:
            first_alone(accelerator, lambda: note_end(run))
    model.eval()
    return TrainingLog(recipe, position.records)

"""The work of `vonenet evaluate`: models and data by address, a suite, rows, audit, examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import distributed

from vonenet.cli.evaluate import Evaluate
from vonenet.cli.v1_figures import write_v1_figures
from vonenet.data import ImageDataset, PixelModel, open_dataset
from vonenet.data.pixels import chosen_device
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.files import replace_whole
from vonenet.model import VOneNet
from vonenet.results import AUDIT, EXAMPLES, RESULTS
from vonenet.robustness import (
    CORRUPTIONS,
    Attack,
    Clean,
    Condition,
    Corruption,
    attack_suite,
    audit,
    evaluate,
    rank_and_size,
)
from vonenet.v1.noise import no_noise
from vonenet.zoo.loading import LoadedModel, load_model

SUITES = ("quick", "paper", "corruptions", "attacks", "full")
SEVERITIES = (1, 2, 3, 4, 5)
MIDDLE_SEVERITY = 3
# A type of each category of ImageNet-C, at the middle severity
QUICK_CORRUPTIONS = ("gaussian_noise", "defocus_blur", "brightness", "jpeg_compression")
AUDIT_IMAGES = 50
# Of the contact sheet. Attacks are drawn with fewer gradients than they are measured with: the
# picture is the same.
TILE_PX, LABEL_PX, GAP_PX, COLUMNS = 160, 16, 8, 6
SHOWN_STEPS, SHOWN_SAMPLES = 10, 2


def conditions_of(suite: str, image_size: tuple[int, int] | None = None) -> list[Condition]:
    """Return the conditions of a suite, clean images first.

    Args:
        suite: One of `SUITES`.
        image_size: Height and width that attack radii are scaled to; None: as published.

    Raises:
        InputError: An unknown suite.
    """
    if suite not in SUITES:
        raise InputError(f"suite must be one of {', '.join(SUITES)}, got {suite!r}")
    conditions: list[Condition] = [Clean()]
    if suite == "quick":
        conditions += [Corruption(name, MIDDLE_SEVERITY) for name in QUICK_CORRUPTIONS]
        conditions += attack_suite("quick", image_size)
    if suite in ("paper", "corruptions", "full"):
        names = [n for n, c in CORRUPTIONS.items() if suite != "paper" or c.category != "extra"]
        conditions += [Corruption(name, severity) for name in names for severity in SEVERITIES]
    if suite == "paper":
        conditions += attack_suite("paper", image_size)
    if suite in ("attacks", "full"):
        conditions += attack_suite("evnets", image_size) + attack_suite("stronger", image_size)
    return conditions


def run_evaluation(
    config: Evaluate,
    *,
    conditions: Sequence[Condition] | None = None,
    experiment: str = "evaluate",
    progress: bool = True,
) -> bool:
    """Measure models under a suite; rows are written as they come, and none is measured twice.

    Args:
        config: Which models, on which images, under which conditions.
        conditions: Others than those of the suite.
        experiment: What the rows belong to.
        progress: Show progress bars.

    Returns:
        Whether this is the first of the processes that measured together.

    Raises:
        InputError: A model, the data or a setting cannot be used.
    """
    if not config.models:
        raise InputError("no model was given; give one or more names, files or module:function")
    device = chosen_device(config.device)
    if device.type == "cuda":  # of several GPUs the one that `torchrun` means this process to use
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    first: LoadedModel | None = None
    with _process_group():
        is_first_process = rank_and_size()[0] == 0
        for address in config.models:
            loaded = load_model(address)
            loaded.model.to(device)
            image_size, in_chans = config.image_size or loaded.image_size, loaded.in_chans
            dataset = open_dataset(
                config.data, config.split, image_size=image_size, in_chans=in_chans
            )
            height, width = dataset[0][0].shape[-2:]
            suite = conditions or conditions_of(
                config.suite, (height, width) if config.scale_radii else None
            )
            for attacked in (False, True):
                part = [each for each in suite if isinstance(each, Attack) == attacked]
                limit = (config.attack_limit if attacked else None) or config.limit
                if not part:
                    continue
                evaluate(
                    loaded.model,
                    dataset,
                    part,
                    experiment=experiment,
                    model_name=loaded.name,
                    batch_size=config.batch_size,
                    limit=limit,
                    seed=config.seed,
                    decision_samples=config.decision_samples,
                    out_path=config.out / RESULTS,
                    progress=progress,
                )
            if config.audit and config.suite != "corruptions" and is_first_process:
                _audit(loaded, first, dataset, config, progress)
            if first is None and is_first_process and not (config.out / EXAMPLES).is_file():
                shown = shown_conditions(suite)
                path = config.out / EXAMPLES
                write_contact_sheet(loaded.model, dataset, shown, path, seed=config.seed)
            if isinstance(loaded.model.model, VOneNet) and is_first_process:
                write_v1_figures(loaded.model.model.vone_block, config.out)
            first = first or loaded
        return is_first_process


def shown_conditions(conditions: Sequence[Condition]) -> list[Condition]:
    """Return each corruption at the middle severity, clean, and each norm's largest radius."""
    radii: dict[str, float] = {}
    others = []
    for condition in conditions:
        if isinstance(condition, Attack):
            radii[condition.norm] = max(condition.epsilon, radii.get(condition.norm, 0.0))
        elif not isinstance(condition, Corruption) or condition.severity == MIDDLE_SEVERITY:
            others.append(condition)
    return others + [
        Attack(norm, epsilon, SHOWN_STEPS, SHOWN_SAMPLES) for norm, epsilon in radii.items()
    ]


def write_contact_sheet(
    model: PixelModel,
    dataset: ImageDataset,
    conditions: Sequence[Condition],
    path: Path,
    *,
    seed: int = 0,
) -> None:
    """Draw the first image under each condition, one labelled tile for each, as a PNG file.

    Args:
        model: Takes pixels; in eval mode. Attacks are made against it.
        dataset: Labelled images.
        conditions: What is done to the image.
        path: Written whole or not at all.
        seed: Of what is random about the conditions.
    """
    pixels, label = dataset[0]
    device = device_of(model)
    batch, labels = pixels[None].to(device), torch.tensor([label], device=device)
    rows = -(-len(conditions) // COLUMNS)
    step_x, step_y = TILE_PX + GAP_PX, TILE_PX + LABEL_PX + GAP_PX
    width = min(COLUMNS, len(conditions)) * step_x - GAP_PX
    sheet = Image.new("RGB", (width, rows * step_y - GAP_PX), "white")
    drawing = ImageDraw.Draw(sheet)
    for number, condition in enumerate(conditions):
        with seeded(seed, device):
            shown = condition.perturb(model, batch, labels, seed=seed, first_index=0)[0]
        row, column = divmod(number, COLUMNS)
        left, top = column * step_x, row * step_y
        drawing.text((left, top), condition.label, fill="black")
        levels = (255 * shown.detach().cpu()).round().byte().expand(3, -1, -1)
        tile = Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))
        # Small images keep their pixels visible
        small = max(tile.size) < TILE_PX
        resampling = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        sheet.paste(tile.resize((TILE_PX, TILE_PX), resampling), (left, top + LABEL_PX))
    replace_whole(path, lambda unfinished: sheet.save(unfinished, format="PNG"))


def _audit(
    loaded: LoadedModel,
    first: LoadedModel | None,
    dataset: ImageDataset,
    config: Evaluate,
    progress: bool,
) -> None:
    """Audit a model; the first model's adversarial images are tried on those that take the same."""
    same_images = first is not None and (
        (first.image_size, first.in_chans) == (loaded.image_size, loaded.in_chans)
    )
    audit(
        loaded.model,
        dataset,
        model_name=loaded.name,
        images=min(AUDIT_IMAGES, config.limit or AUDIT_IMAGES),
        base=first.model if first is not None and same_images else None,
        noise_off=no_noise,
        batch_size=config.batch_size,
        seed=config.seed,
        out_path=config.out / AUDIT,
        progress=progress,
    )


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the other processes if `torchrun` started this one; leave them together."""
    if "RANK" not in os.environ or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()

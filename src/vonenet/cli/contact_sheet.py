"""A picture of what a suite of conditions does to an image: one labelled tile for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from vonenet.data import ImageDataset, PixelModel
from vonenet.data.seeding import device_of, seeded
from vonenet.files import replace_whole
from vonenet.report.pictures import photo
from vonenet.robustness import Attack, Condition, Corruption

TILE_PX, LABEL_PX, GAP_PX, COLUMNS = 160, 16, 8, 6
SHOWN_SEVERITY = 3
# Attacks are drawn with fewer gradients than they are measured with: the picture is the same.
SHOWN_STEPS, SHOWN_SAMPLES = 10, 2


def shown_conditions(conditions: Sequence[Condition]) -> list[Condition]:
    """Each corruption at the middle severity, each norm's PGD at its largest radius, and clean."""
    radii: dict[str, float] = {}
    for condition in conditions:
        if isinstance(condition, Attack) and condition.method == "pgd":
            radii[condition.norm] = max(condition.epsilon, radii.get(condition.norm, 0.0))
    largest = [Attack(norm, epsilon, SHOWN_STEPS, SHOWN_SAMPLES) for norm, epsilon in radii.items()]
    others = [
        condition
        for condition in conditions
        if not isinstance(condition, Attack)
        and not (isinstance(condition, Corruption) and condition.severity != SHOWN_SEVERITY)
    ]
    return others + largest


def write_contact_sheet(
    model: PixelModel,
    dataset: ImageDataset,
    conditions: Sequence[Condition],
    path: Path,
    *,
    seed: int = 0,
) -> None:
    """Draw the first image under each condition, as the model would be shown it.

    Args:
        model: takes pixels; in eval mode. Attacks are made against it.
        dataset: labelled images.
        conditions: one tile for each.
        path: PNG file, written whole or not at all.
        seed: of what is random about the conditions.
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
            shown = condition.perturb(model, batch, labels, seed=seed, first_index=0)
        row, column = divmod(number, COLUMNS)
        left, top = column * step_x, row * step_y
        drawing.text((left, top), condition.label, fill="black")
        sheet.paste(_tile(shown[0].detach().cpu().numpy()), (left, top + LABEL_PX))
    replace_whole(path, lambda unfinished: sheet.save(unfinished, format="PNG"))


def _tile(image: np.ndarray) -> Image.Image:
    """An image (C, H, W) in [0, 1] as a square tile; small ones keep their pixels visible."""
    picture = Image.fromarray(photo(image)).convert("RGB")
    enlarged = max(picture.size) < TILE_PX
    way = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return picture.resize((TILE_PX, TILE_PX), way)

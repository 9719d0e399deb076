"""`vonenet models`: names, sizes and weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from vonenet.errors import InputError

if TYPE_CHECKING:
    from vonenet.zoo.registry import ModelEntry

NAMED = "named"
COLUMNS = ("name", "trained", "front-end", "weights")


@dataclass(frozen=True)
class Models:
    """List models: name, trained parameters, front-end, weights.

    Attributes:
        pattern: shell pattern, such as "vone_convnext*", or "named" for those with names of ours.
        json: print one JSON object a line, for programs.
    """

    pattern: Annotated[Positional[str], arg(metavar="PATTERN")] = NAMED
    json: bool = False

    def run(self) -> None:
        """Print the table."""
        if not self.json:
            print(model_table(self.pattern))
            return
        for row in model_rows(self.pattern):
            print(json.dumps(dict(zip(COLUMNS, row, strict=True))))


def model_rows(pattern: str = NAMED) -> list[tuple[str, str, str, str]]:
    """Return name, trained parameters, front-end and weights of all models of a pattern."""
    from vonenet.zoo.registry import NAMED_MODELS, find_entry, list_models

    names = list(NAMED_MODELS) if pattern == NAMED else list_models(pattern)
    if not names:
        raise InputError(f"no model matches {pattern!r}; try 'vone*resnet*', or '*' for all")
    return [_model_row(find_entry(name)) for name in names]


def model_table(pattern: str = NAMED) -> str:
    """Return what `model_rows` finds as a table."""
    from vonenet.zoo.registry import list_models

    rows = [COLUMNS, *model_rows(pattern)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    timm_models = len(list_models("vone_*"))
    more = f"\n\nand {timm_models} with a timm back-end: vonenet models 'vone_*'"
    return "\n".join(line.rstrip() for line in lines) + (more if pattern == NAMED else "")


def _model_row(entry: ModelEntry) -> tuple[str, str, str, str]:
    import torch

    from vonenet.backbones import build_backbone
    from vonenet.v1.config import VOneBlockConfig

    with torch.device("meta"):
        backbone = build_backbone(entry.backbone)
    v1 = VOneBlockConfig(noise=entry.noise, stride=backbone.stride).resolved()
    trained = sum(parameter.numel() for parameter in backbone.module.parameters())
    trained += v1.out_channels * backbone.in_channels
    front = (
        f"{v1.simple_channels} simple + {v1.complex_channels} complex, "
        f"stride {v1.stride}, noise {v1.noise or 'off'}"
    )
    return entry.name, f"{trained / 1e6:.2f} M", front, "published" if entry.weights else "-"

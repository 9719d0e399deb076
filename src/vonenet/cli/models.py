"""`vonenet models`: names, sizes and weights; and front-ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from vonenet.bars import progress_bar
from vonenet.errors import InputError
from vonenet.names import NAMED_MODELS

if TYPE_CHECKING:
    from vonenet.names import ModelEntry

NAMED = "named"
COLUMNS = ("name", "trained", "front-end", "weights")
FRONT_END_COLUMNS = ("name", "stages", "summary", "paper")


@dataclass(frozen=True)
class Models:
    """List models: name, trained parameters, front-end, weights.

    Attributes:
        pattern: shell pattern, such as "vone_convnext*", or "named" for those with names of ours.
        front_ends: list front-ends instead: name, stages, what it is, paper.
        json: print one JSON object a line, for programs.
    """

    pattern: Annotated[Positional[str], arg(metavar="PATTERN")] = NAMED
    front_ends: bool = False
    json: bool = False

    def run(self) -> None:
        """Print the table."""
        columns = FRONT_END_COLUMNS if self.front_ends else COLUMNS
        rows = front_end_rows(self.pattern) if self.front_ends else model_rows(self.pattern)
        if self.json:
            for row in rows:
                print(json.dumps(dict(zip(columns, row, strict=True))))
            return
        print(_table([columns, *rows]))
        if self.pattern == NAMED:
            print(_more(self.front_ends))


def front_end_rows(pattern: str = NAMED) -> list[tuple[str, str, str, str]]:
    """Return name, stages, summary and paper of every front-end that matches a pattern.

    Raises:
        InputError: no front-end matches.
    """
    from vonenet.frontends.front_end import V1_STAGE
    from vonenet.frontends.presets import PRESETS, list_front_ends

    names = list_front_ends("*" if pattern == NAMED else pattern)
    if not names:
        raise InputError(f"no front-end matches {pattern!r}; try 'evnet*', or '*' for all")
    return [
        (
            name,
            ", ".join([*(stage.name for stage in PRESETS[name].before_v1), V1_STAGE]),
            PRESETS[name].summary,
            PRESETS[name].paper,
        )
        for name in names
    ]


def model_rows(pattern: str = NAMED) -> list[tuple[str, str, str, str]]:
    """Return name, trained parameters, front-end and weights of all models of a pattern."""
    entries = list(NAMED_MODELS.values())
    if pattern != NAMED:
        from vonenet.zoo.registry import find_entry, list_models

        entries = list(map(find_entry, list_models(pattern)))
    if not entries:
        raise InputError(f"no model matches {pattern!r}; try 'vone*resnet*', or '*' for all")
    return [_model_row(entry) for entry in progress_bar(entries, unit="model", leave=False)]


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _more(front_ends: bool) -> str:
    """Say what else there is to list."""
    from vonenet.frontends.presets import PRESETS

    if front_ends:
        return "\nused as: vonenet.create_model(NAME, front_end=...)"
    return (
        "\nand hundreds with a timm back-end: vonenet models 'vone_*'\n"
        f"with any of {len(PRESETS)} front-ends: vonenet models --front-ends"
    )


def _model_row(entry: ModelEntry) -> tuple[str, str, str, str]:
    from vonenet.v1.config import VOneBlockConfig

    trained, stride = entry.trained, entry.stride
    v1 = VOneBlockConfig(noise=entry.noise)
    if trained is None:
        import torch

        from vonenet.backbones import build_backbone

        with torch.device("meta"):
            backbone = build_backbone(entry.backbone)
        trained = sum(parameter.numel() for parameter in backbone.module.parameters())
        trained, stride = trained + v1.out_channels * backbone.in_channels, backbone.stride
    front = (
        f"{v1.simple_channels} simple + {v1.complex_channels} complex, "
        f"stride {stride}, noise {v1.noise or 'off'}"
    )
    return entry.name, f"{trained / 1e6:.2f} M", front, "published" if entry.weights else "-"

"""Published distributions of V1 properties, read from `published.toml`: the ten that are public."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from vonenet.physiology.recording import PublishedHistogram


def _histogram(name: str, table: dict[str, Any]) -> PublishedHistogram:
    groups = table.pop("counts").values()
    counts = tuple(sum(bins) for bins in zip(*groups, strict=True))
    edges = tuple(table.pop("edges"))
    return PublishedHistogram(
        name=name, edges=edges, counts=counts, **{"recorded": sum(counts)} | table
    )


_TABLES = tomllib.loads(files(__package__).joinpath("published.toml").read_text("utf-8"))
PUBLISHED = {name: _histogram(name, table) for name, table in _TABLES.items()}
# Brain-Score's benchmark: its cells are counted in two of the ten others
SF_BANDWIDTH = PUBLISHED.pop("sf_bandwidth")

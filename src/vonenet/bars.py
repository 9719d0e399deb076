"""Progress bars, which are drawn on terminals only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    over: Iterable[Any] | None = None, /, *, shown: bool = True, **settings: Any
) -> tqdm[Any]:
    """Return tqdm's bar with its settings, drawn if it is to be shown and stderr is a terminal."""
    return tqdm(over, disable=None if shown else True, **settings)

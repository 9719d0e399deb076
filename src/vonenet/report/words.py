"""Names that move soon, and lists in words."""

from collections.abc import Sequence

from vonenet.report.page import DASH as DASH
from vonenet.report.page import count as count
from vonenet.report.page import duration as duration
from vonenet.report.page import first_column as first_column
from vonenet.report.page import number as number
from vonenet.report.page import percent as percent
from vonenet.report.page import printable as printable


def listing(items: Sequence[str], most: int = 4) -> str:
    """`a`, `a and b`, `a, b and c`, or `a, b, c and 9 more` where there are too many."""
    shown = list(items)
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1} more"]
    return " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), *shown[-1:]])

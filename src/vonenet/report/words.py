"""Numbers and lists in words: percent, percentage points, radii, durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from vonenet.report.differences import Estimate

NORMS = {"linf": "L\N{INFINITY}", "l2": "L2", "l1": "L1"}
DASH = "\N{EM DASH}"
NAME_WIDTH = 24  # of a terminal's first column, at least


def percent(share: float) -> str:
    """A share of 1 as percent without the sign, such as `46.2`."""
    return f"{100 * share:.1f}"


def points(share: float) -> str:
    """A difference of shares as percentage points with sign, such as `+3.2`."""
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}") if rounded else "0.0"


def percent_interval(estimate: Estimate) -> str:
    """Such as `[44.8, 47.6]`."""
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def point_interval(estimate: Estimate) -> str:
    """Such as `[+2.1, +4.3]`."""
    return f"[{points(estimate.low)}, {points(estimate.high)}]"


def number(value: float) -> str:
    """Three digits, such as `0.0123` or `2.30`."""
    if not isfinite(value):
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def radius(norm: str, epsilon: float) -> str:
    """A radius in pixels of [0, 1]; L-inf radii as fractions, such as `1/1020` or `4/255`."""
    if norm != "linf" or epsilon <= 0:
        return f"{epsilon:.4g}"
    return f"1/{1 / epsilon:.4g}" if epsilon < 1 / 255 else f"{255 * epsilon:.3g}/255"


def listing(items: Sequence[str], most: int = 4) -> str:
    """`a`, `a and b`, `a, b and c`, or `a, b, c and 9 more` where there are too many."""
    shown = list(items)
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1} more"]
    return " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), *shown[-1:]])


def by_statement(statements: Mapping[str, str]) -> list[str]:
    """What holds for which models: each statement once, with names unless it holds for all.

    Args:
        statements: name of a model -> what is said of it.
    """
    holders: dict[str, list[str]] = {}
    for name, statement in statements.items():
        holders.setdefault(statement, []).append(name)
    if len(holders) == 1:
        return list(holders)
    return [f"{listing(names)}: {statement}" for statement, names in holders.items()]


def duration(seconds: float) -> str:
    """Such as `40 s`, `12 min` or `3 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Such as `1 model` or `1,200 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """Text for a terminal, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def first_column(names: Sequence[str]) -> list[str]:
    """Names of a terminal's table, all of one width."""
    shown = [printable(name) for name in names]
    width = max(NAME_WIDTH, 2 + max(map(len, shown)))
    return [name.ljust(width) for name in shown]

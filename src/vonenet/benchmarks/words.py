"""Numbers in words: three digits and a unit."""

from __future__ import annotations

from vonenet.benchmarks.measure import Spread


def digits(value: float) -> str:
    """Three significant digits, or all that stand before the point: 0.123, 12.3, 1234."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def spread_in_words(spread: Spread, scale: float = 1.0) -> str:
    """Median and quartiles: `12.3 (12.1 to 12.9)`; the median alone if they are one."""
    median, low, high = (digits(scale * v) for v in (spread.median, spread.low, spread.high))
    return median if low == high else f"{median} ({low} to {high})"


def seconds_in_words(seconds: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{digits(seconds)} s" if seconds >= 1 else f"{digits(1e3 * seconds)} ms"


def gigabytes(count: float) -> str:
    """Bytes as GB or MB (powers of ten)."""
    return f"{digits(count / 1e9)} GB" if count >= 1e9 else f"{digits(count / 1e6)} MB"

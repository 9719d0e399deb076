"""A heat map of corruption by severity: one model's accuracy, or its difference from the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup
from matplotlib import colormaps

from vonenet.report.differences import Estimate
from vonenet.report.svg import drawing, element, joined, text
from vonenet.report.words import percent, points

WIDTH = 350
NAMES_PX, CELL_PX, GAP_PX = 114, 38, 8
ROW_PX, HEADER_PX, CATEGORY_PX = 22, 34, 25
# Both colour maps are read by the colour-blind; every cell also carries its number.
ACCURACY_MAP, DIFFERENCE_MAP = "Greens", "RdBu"


@dataclass(frozen=True)
class Line:
    """One type of corruption.

    Attributes:
        name: in words.
        cells: severity -> number; empty cells were not measured, or not alike.
        mean: over severities.
    """

    name: str
    cells: Mapping[int, Estimate]
    mean: Estimate | None


@dataclass(frozen=True)
class Shades:
    """How numbers become colours.

    Attributes:
        of_differences: numbers are differences of accuracy, not accuracies.
        largest: the number of the strongest colour, and of a difference its opposite.
    """

    of_differences: bool
    largest: float

    def colors(self, share: float) -> tuple[str, str]:
        """Colour of a cell as `#rrggbb`, and the class of the number on it: dark or light."""
        position = share / self.largest
        # The dark ends of the maps are left out: figures would not stand out on them.
        if self.of_differences:
            red, green, blue = _shade(DIFFERENCE_MAP, 0.5 + 0.35 * max(-1, min(1, position)))
        else:
            red, green, blue = _shade(ACCURACY_MAP, 0.7 * max(0.0, min(1.0, position)))
        # Relative luminance at which black and white text contrast alike (WCAG 2).
        bright = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 > 0.179
        cell = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
        return cell, "dark" if bright else "light"

    def words(self, share: float) -> str:
        """The number on a cell."""
        return points(share) if self.of_differences else percent(share)


def heat_map(
    label: str, categories: Mapping[str, Sequence[Line]], severities: Sequence[int], shades: Shades
) -> Markup:
    """Draw lines under the names of their categories.

    Args:
        label: what it shows, for those who do not see it.
        categories: name -> lines.
        severities: columns.
        shades: how numbers become colours.
    """
    parts = [_header(severities)]
    y = float(HEADER_PX)
    for category, lines in categories.items():
        parts.append(text(0, y + CATEGORY_PX - 10, category, class_="soft"))
        y += CATEGORY_PX
        for each in lines:
            parts.append(_line(each, severities, y, shades))
            y += ROW_PX
    return drawing(WIDTH, y + 2, label, joined(parts))


@cache
def _shade(name: str, position: float) -> tuple[float, float, float]:
    """A colour of matplotlib's map, red, green and blue from 0 to 1."""
    red, green, blue, _ = colormaps[name](position)
    return red, green, blue


def _header(severities: Sequence[int]) -> Markup:
    labels = [text(_column(i), 28, str(severity)) for i, severity in enumerate(severities)]
    middle = (_column(0) + _column(len(severities) - 1)) / 2
    labels.append(text(middle, 10, "severity", class_="soft"))
    labels.append(text(_mean_column(severities), 28, "mean", class_="soft"))
    return element("g", joined(labels), text_anchor="middle")


def _line(line: Line, severities: Sequence[int], y: float, shades: Shades) -> Markup:
    cells = [
        _cell(_column(index), y, line.cells.get(severity), shades)
        for index, severity in enumerate(severities)
    ]
    mean = _cell(_mean_column(severities), y, line.mean, shades)
    return joined([text(0, y + ROW_PX / 2, line.name), *cells, mean])


def _cell(middle: float, y: float, number: Estimate | None, shades: Shades) -> Markup:
    if number is None:
        return text(middle, y + ROW_PX / 2, "\N{MIDDLE DOT}", text_anchor="middle", class_="soft")
    fill, ink = shades.colors(number.value)
    interval = f"{shades.words(number.value)} [{shades.words(number.low)}, "
    spoken = element("title", f"{interval}{shades.words(number.high)}]")
    box = element(
        "rect",
        spoken,
        x=middle - CELL_PX / 2 + 0.5,
        y=y + 0.5,
        width=CELL_PX - 1,
        height=ROW_PX - 1,
        fill=fill,
    )
    sure = shades.of_differences and number.sign != 0
    words = text(
        middle,
        y + ROW_PX / 2,
        shades.words(number.value),
        text_anchor="middle",
        class_=f"cell {ink} strong" if sure else f"cell {ink}",
    )
    return joined([box, words])


def _column(index: int) -> float:
    return NAMES_PX + CELL_PX * (index + 0.5)


def _mean_column(severities: Sequence[int]) -> float:
    return _column(len(severities)) + GAP_PX

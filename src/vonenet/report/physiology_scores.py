"""How like V1 each layer is: the table, the charts, every number, and the terminal's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vonenet.physiology.recording import PublishedHistogram
from vonenet.report.physiology_rows import (
    CEILED,
    SIMILARITY,
    SUMMARIES,
    Recorded,
    is_missing,
)
from vonenet.report.physiology_words import (
    compared,
    decimals,
    interval,
    missing,
    name_of,
    source_of,
)
from vonenet.report.svg import STYLES, Scale, element, joined, line, marker
from vonenet.report.words import DASH, count, first_column, number, printable
from vonenet.results import Result

GAP = 2  # between columns of the terminal's table
MARK_WIDTH, MARK_HEIGHT, PAD = 92, 14, 6
MOST = 1.1  # of a similarity, in its picture


@dataclass(frozen=True)
class Cell:
    """A similarity, its interval, how many units were compared, and a picture of it.

    `missing`: it is 0 because hardly any unit has the property.
    """

    value: str = DASH
    interval: str = ""
    units: str = ""
    missing: bool = False
    picture: str = ""

    @classmethod
    def of(cls, row: Result | None, style: int, units: str = "") -> Cell:
        """In words, with a picture; a dash where it was not measured."""
        if row is None:
            return cls(units="not measured")
        if is_missing(row):
            return cls(decimals(row.value), "", missing(row), missing=True)
        return cls(
            decimals(row.value),
            interval(row),
            units or compared(row),
            picture=interval_mark(row, style),
        )


@dataclass(frozen=True)
class Line:
    """A property's row of the table."""

    name: str
    source: str
    cells: Sequence[Cell]


def properties_of(layers: Sequence[Recorded]) -> list[PublishedHistogram]:
    """Published properties that any layer was scored in, in their order."""
    return list({each.name: each for layer in layers for each in layer.published}.values())


def mean_cells(layers: Sequence[Recorded]) -> list[Cell]:
    """The mean of each layer."""
    return [
        Cell.of(layer.mean, layer.style, _averaged(layer.mean) if layer.mean else "")
        for layer in layers
    ]


def _averaged(mean: Result) -> str:
    return count(int(mean.flags["properties"]), "property", "properties")


def interval_mark(row: Result, style: int) -> Markup:
    """A similarity and its interval between 0 and 1, for the table."""
    place = Scale(0, 1, PAD, MARK_WIDTH - 2 * PAD)
    y = MARK_HEIGHT / 2
    ends = [place(min(max(end, 0), MOST)) for end in (row.ci_low, row.ci_high)]
    parts = [
        line(place(0), y, place(1), y, class_="track"),
        *(line(place(end), y - 4, place(end), y + 4, class_="track") for end in (0, 1)),
        line(ends[0], y, ends[1], y, class_=f"interval s{style % STYLES}"),
        marker(style, place(min(max(row.value, 0), MOST)), y, size=0.75),
    ]
    return element(
        "svg",
        joined(parts),
        width=MARK_WIDTH,
        height=MARK_HEIGHT,
        viewBox=f"0 0 {MARK_WIDTH} {MARK_HEIGHT}",
        aria_hidden="true",
    )


def score_lines(layers: Sequence[Recorded]) -> list[Line]:
    """The ceiled similarity of every published property in every layer."""
    return [
        Line(
            name_of(each.name),
            source_of(each),
            [Cell.of(layer.of(CEILED).get(each.name), layer.style) for layer in layers],
        )
        for each in properties_of(layers)
    ]


@dataclass(frozen=True)
class NumberRow:
    """A line of the table of every number."""

    name: str
    metric: str
    value: str
    interval: str
    n: str
    source: str


def every_number(layer: Recorded) -> list[NumberRow]:
    """All rows of a layer in words."""
    names = {
        SIMILARITY: "similarity",
        CEILED: "similarity / ceiling",
        "correlation": "correlation with what was built in",
        "ratio": "measured / built in",
    }
    order = [*SUMMARIES, SIMILARITY, CEILED, "correlation", "ratio"]
    rows = sorted(
        layer.rows,
        key=lambda row: order.index(row.metric) if row.metric in order else len(order),
    )
    return [
        NumberRow(
            name_of(str(row.condition["property"])),
            names.get(row.metric, row.metric)
            + (" alike" if row.metric == "share" and "holds" in row.flags else ""),
            _plain(row.value),
            f"[{_plain(row.ci_low)}, {_plain(row.ci_high)}]",
            f"{row.n:,}",
            row.data,
        )
        for row in rows
    ]


def text_table(layers: Sequence[Recorded]) -> str:
    """Properties by layers, for the terminal."""
    lines = [(each.name, each.cells) for each in score_lines(layers)]
    means = mean_cells(layers)
    heads = ["similarity to V1, 1 is best", "", *(name for name, _ in lines), "mean"]
    columns = [
        [
            printable(layer.recording.model),
            printable(layer.label.removeprefix(layer.recording.model).strip()),
            *(_text(cells[index]) for _, cells in lines),
            _text(means[index]),
        ]
        for index, layer in enumerate(layers)
    ]
    widths = [GAP + max(map(len, column)) for column in columns]
    rows = zip(first_column(heads), *columns, strict=True)
    return "\n".join(
        head + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for head, *cells in rows
    )


def _text(cell: Cell) -> str:
    return f"{cell.value} {cell.interval or cell.units if not cell.missing else '(none)'}".strip()


def _plain(value: float) -> str:
    return "0" if value == 0 else number(value)

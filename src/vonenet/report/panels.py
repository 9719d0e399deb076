"""What the sections of a page are made of: numbers in words, pictures with headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from vonenet.report.differences import Estimate
from vonenet.report.words import DASH, percent, percent_interval, point_interval, points


@dataclass(frozen=True)
class Number:
    """An accuracy with its interval, and how it differs from the base's.

    Attributes:
        value: in percent, or a dash.
        interval: of the value, or nothing.
        gain: difference in points, or why there is none.
        gain_interval: of the difference, or nothing.
        sure: whether the interval of the difference excludes 0.
    """

    value: str = DASH
    interval: str = ""
    gain: str = ""
    gain_interval: str = ""
    sure: bool = False

    @classmethod
    def of(cls, estimate: Estimate, gain: Estimate | None = None) -> Number:
        """Numbers in words."""
        value, interval = percent(estimate.value), percent_interval(estimate)
        if gain is None:
            return cls(value, interval)
        return cls(value, interval, points(gain.value), point_interval(gain), gain.sign != 0)


@dataclass(frozen=True)
class Panel:
    """A picture with a heading.

    Attributes:
        name: heading.
        picture: SVG.
        finding: sentence beneath the heading.
        swatch: sign of the model that the picture is of, if it is of one.
    """

    name: str
    picture: Markup
    finding: str = ""
    swatch: str = ""


@dataclass(frozen=True)
class Section:
    """A heading that says what is found, pictures, and a table.

    Attributes:
        finding: heading.
        panels: pictures.
        columns: heads of the table's columns after the first.
        rows: first column and numbers.
        remark: on the table.
    """

    finding: str
    panels: Sequence[Panel] = ()
    columns: Sequence[str] = ()
    rows: Sequence[tuple[str, Sequence[Number]]] = ()
    remark: str = ""


@dataclass(frozen=True)
class Details:
    """Every condition of one model beside the base.

    Attributes:
        label: of the model.
        hash: of its weights.
        tally: how often it is better and worse.
        rows: condition, base, model, images measured.
    """

    label: str
    hash: str
    tally: str
    rows: Sequence[tuple[str, Number, Number, str]]

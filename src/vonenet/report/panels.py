"""A picture with a heading."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


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

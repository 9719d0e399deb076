"""Small charts of one unit: receptive field, polar orientation tuning, tuning curves with fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from vonenet.physiology.recording import Array, Curve, ReceptiveFields
from vonenet.report.physiology_axes import Axis, Box, across, label, upward
from vonenet.report.pictures import data_address, response_map
from vonenet.report.svg import STYLES, drawing, element, joined, line, text
from vonenet.report.words import number

WIDTH, HEIGHT = 180, 168
BOX = Box(left=34, right=168, top=26, bottom=128)
MAP = Box(left=34, right=136, top=26, bottom=128)
POLAR_X, POLAR_Y, POLAR_PX = 90, 87, 50
LEAST_REACH_DEG = 0.75
RATE = "spikes/s"


def field_chart(fields: ReceptiveFields, unit: int, reach_deg: float) -> Markup:
    """The map of a receptive field, bright where the unit responds, and its measured size.

    Args:
        fields: of all units.
        unit: which.
        reach_deg: from the centre of the image to the chart's edge, at most that of the map.
    """
    columns, rows = (np.abs(of) <= reach_deg + 1e-6 for of in (fields.x_deg, fields.y_deg))
    shown = fields.maps[unit][np.ix_(rows, columns)][::-1]  # y upwards
    x_deg = fields.x_deg[columns]
    half = (x_deg[-1] - x_deg[0]) / max(len(x_deg) - 1, 1) / 2
    ends = x_deg[0] - half, x_deg[-1] + half
    axis = Axis.between("degrees", *ends, most=5)
    x, y = axis.place(MAP.left, MAP.right), axis.place(MAP.bottom, MAP.top)
    picture = element(
        "image",
        href=data_address(response_map(shown, float(np.nanmax(shown, initial=0)))),
        x=MAP.left,
        y=MAP.top,
        width=MAP.right - MAP.left,
        height=MAP.bottom - MAP.top,
        preserveAspectRatio="none",
        class_="pixels",
    )
    figures = [text(MAP.left - 5, y(t), label(t), text_anchor="end") for t in axis.ticks]
    name = text(0, 10, "receptive field", class_="soft")
    parts = [picture, *figures, name, across(axis, MAP)]
    center, diameter = fields.centers_deg[unit], fields.diameters_deg[unit]
    if np.isfinite(center).all() and np.isfinite(diameter):
        radius = diameter / 2 * (MAP.right - MAP.left) / (ends[1] - ends[0])
        parts.append(element("circle", cx=x(center[0]), cy=y(center[1]), r=radius, class_="field"))
    return drawing(WIDTH, HEIGHT, "receptive field", joined(parts))


def reach_of(fields: ReceptiveFields, units: Sequence[int]) -> float:
    """How far from the centre charts must reach to hold the fields of some units."""
    wanted = [np.abs(fields.centers_deg[u]).max() + fields.diameters_deg[u] for u in units]
    known = [float(value) for value in wanted if np.isfinite(value)]
    return min(max([LEAST_REACH_DEG, *known]), float(fields.x_deg.max()))


def polar_chart(curve: Curve, unit: int, preferred_deg: float, style: int) -> Markup:
    """Orientation tuning: rate outwards, the bars' orientation around, mirrored beyond 180."""
    angles, rates = _points(curve, unit)
    if not _is_drawn(rates):
        return _empty("orientation")
    highest = float(rates.max()) or 1.0
    axis = Axis(RATE, 0, highest, [highest / 2, highest])
    reach = axis.place(0, POLAR_PX)
    rings = [
        element("circle", cx=POLAR_X, cy=POLAR_Y, r=reach(tick), class_="ring")
        for tick in axis.ticks
    ]
    cross = [
        line(POLAR_X - POLAR_PX, POLAR_Y, POLAR_X + POLAR_PX, POLAR_Y, class_="grid"),
        line(POLAR_X, POLAR_Y - POLAR_PX, POLAR_X, POLAR_Y + POLAR_PX, class_="grid"),
    ]
    pairs = list(zip(angles.tolist(), rates.tolist(), strict=True))
    around = [(angle + turn, rate) for turn in (0, 180) for angle, rate in pairs]
    spots = [_polar(angle, reach(max(rate, 0))) for angle, rate in around]
    outline = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots) + "Z"
    kind = f"s{style % STYLES}"
    parts = [
        *rings,
        *cross,
        element("path", d=outline, class_=f"band {kind}"),
        element("path", d=outline, class_=f"stroke {kind}"),
        text(0, 10, "orientation of bars", class_="soft"),
        text(POLAR_X + POLAR_PX + 5, POLAR_Y, "0°"),
        text(POLAR_X + 4, POLAR_Y - POLAR_PX - 8, "90°", text_anchor="middle"),
        text(
            POLAR_X,
            BOX.bottom + 29,
            f"outer circle: {number(highest)} {RATE}",
            text_anchor="middle",
            class_="soft",
        ),
    ]
    if np.isfinite(preferred_deg):
        ends = [_polar(preferred_deg + turn, POLAR_PX) for turn in (0, 180)]
        parts.append(line(*ends[0], *ends[1], class_="zero", stroke_dasharray=3))
    return drawing(WIDTH, HEIGHT, "orientation tuning", joined(parts))


def tuning_chart(curve: Curve, unit: int, style: int, axis: Axis) -> Markup:
    """Rates against a stimulus's parameter: points, and a line through their fit or themselves."""
    stimuli, rates = _points(curve, unit)
    if not _is_drawn(rates):
        return _empty(axis.name)
    fitted = None if curve.fitted is None else curve.fitted[unit]
    lined = rates if fitted is None or not np.isfinite(fitted).any() else fitted
    rate_axis = Axis.linear(RATE, [rates, lined], most=4)
    x, y = axis.place(BOX.left, BOX.right), rate_axis.place(BOX.bottom, BOX.top)
    kind = f"s{style % STYLES}"
    path = "L".join(
        f"{x(at):.1f} {y(value):.1f}"
        for at, value in zip(stimuli.tolist(), lined.tolist(), strict=True)
        if np.isfinite(value)
    )
    dots = "".join(
        f"M{x(at):.1f} {y(value):.1f}h0"
        for at, value in zip(stimuli.tolist(), rates.tolist(), strict=True)
        if np.isfinite(value)
    )
    parts = [
        upward(rate_axis, BOX),
        across(axis, BOX),
        element("path", d=f"M{path}", class_=f"stroke {kind}"),
        element("path", d=dots, class_="dots"),
    ]
    return drawing(WIDTH, HEIGHT, f"response against {axis.name}", joined(parts))


def cycle(curve: Curve) -> Curve:
    """A curve over phases with its first point once more at 360 degrees."""
    stimuli = np.append(curve.x, 360.0)
    return Curve(curve.axis, stimuli, np.column_stack([curve.rates, curve.rates[:, :1]]))


def _points(curve: Curve, unit: int) -> tuple[Array, Array]:
    return (curve.x if curve.x.ndim == 1 else curve.x[unit]), curve.rates[unit]


def _is_drawn(rates: Array) -> bool:
    return bool(np.isfinite(rates).all() and len(rates))


def _polar(angle_deg: float, distance: float) -> tuple[float, float]:
    """Counter-clockwise from the right, as orientations are counted."""
    angle = np.deg2rad(angle_deg)
    return float(POLAR_X + distance * np.cos(angle)), float(POLAR_Y - distance * np.sin(angle))


def _empty(name: str) -> Markup:
    words = [
        text(WIDTH / 2, 72, name, text_anchor="middle", class_="soft"),
        text(WIDTH / 2, 90, "not measured", text_anchor="middle", class_="soft"),
    ]
    return drawing(WIDTH, HEIGHT, f"{name}: not measured", joined(words))

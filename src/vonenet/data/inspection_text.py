"""What was found in a data set, as lines for a terminal."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vonenet.data.inspection import DataReport, Size

SHOWN_BROKEN, SHOWN_REPEATED, SHOWN_EMPTY = 20, 5, 10
INDENT = 10
WIDTH = 98  # of a line


def report_text(report: DataReport) -> str:
    """The report as lines for a terminal, each below 100 characters."""
    sections = {
        "": _heading(report),
        "classes": _classes(report),
        "sizes": _sizes(report),
        "kinds": [_shares(report.kinds)],
        "modes": [_shares(report.modes)],
        "formats": [_shares(report.formats)],
        "volume": [_volume(report)],
        "broken": _broken(report),
        "repeated": _repeated(report),
    }
    lines = []
    for title, body in sections.items():
        indent = INDENT if title else 0
        for number, line in enumerate(body):
            lines.append((title if number == 0 else "").ljust(indent) + _cut(line, WIDTH - indent))
    return "\n".join(lines) + "\n"


def _heading(report: DataReport) -> Iterator[str]:
    yield report.name
    opened = "all of them opened"
    if report.looked_at < report.images:
        opened = f"{report.looked_at:,} of them opened, spread over the set"
    yield f"{_count(report.images, 'image')}, {opened}"
    yield ""


def _classes(report: DataReport) -> Iterator[str]:
    low, middle, high = report.per_class
    if low == high:
        yield f"{report.classes:,}, of {_count(low, 'image')} each"
    else:
        yield f"{report.classes:,}, of {low:,} to {high:,} images, median {middle:,g}"
    if empty := report.empty_classes:
        more = ", ..." if len(empty) > SHOWN_EMPTY else ""
        yield f"{len(empty):,} without an image: {', '.join(empty[:SHOWN_EMPTY])}{more}"


def _sizes(report: DataReport) -> Iterator[str]:
    if report.sizes is None:
        yield "unknown"
        return
    small, middle, large = report.sizes
    if small == large:
        yield f"{_size(small)} px, all"
    else:
        yield f"smallest {_size(small)}, median {_size(middle)}, largest {_size(large)} px"


def _volume(report: DataReport) -> str:
    decoded = report.looked_at - len(report.broken)
    each = f", {_bytes(report.bytes / decoded)} an image" if decoded else ""
    return _bytes(report.bytes) + each


def _broken(report: DataReport) -> Iterator[str]:
    if not report.broken:
        yield "none"
        return
    yield f"{_count(len(report.broken), 'image')} cannot be decoded:"
    for image in report.broken[:SHOWN_BROKEN]:
        name = _short(image.name, report)
        room = WIDTH - INDENT - 2 - len(image.reason)
        yield f"{_cut_middle(name, max(room, WIDTH // 2))}: {image.reason}"
    yield from _rest(len(report.broken) - SHOWN_BROKEN)


def _repeated(report: DataReport) -> Iterator[str]:
    if not report.repeated:
        yield "none"
        return
    copies = sum(len(group) - 1 for group in report.repeated)
    yield f"{_count(copies, 'image')} with the same content as one before:"
    for group in report.repeated[:SHOWN_REPEATED]:
        names = [_short(name, report) for name in group]
        room = (WIDTH - INDENT - 12) // 2
        shown = " = ".join(_cut_middle(name, room) for name in names[:2])
        yield shown + (f" = {len(names) - 2:,} more" if len(names) > 2 else "")
    yield from _rest(len(report.repeated) - SHOWN_REPEATED)
    if report.contradictions:
        yield f"under more than one label: {report.contradictions:,} of {len(report.repeated):,}"


def _rest(count: int) -> Iterator[str]:
    if count > 0:
        yield f"... and {count:,} more"


def _short(name: str, report: DataReport) -> str:
    """A name without the folders that are in the set's own."""
    for folder in (report.name, str(Path(report.name).parent)):
        name = name.replace(f"{folder}/", "")
    return name


def _shares(counts: Mapping[str, int]) -> str:
    """How many and which part; the name alone if it is all."""
    total = sum(counts.values())
    if len(counts) == 1:
        return f"{next(iter(counts))}, all"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {n:,} ({100 * n / total:.3g} %)" for name, n in ordered) or "unknown"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3] + "..."


def _cut_middle(name: str, width: int) -> str:
    """A name whose beginning and end are kept; the end says which file it is."""
    head = width // 3
    return name if len(name) <= width else f"{name[:head]}...{name[head + 3 - width :]}"

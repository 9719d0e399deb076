"""The page of `vonenet physiology`: recordings and their rows -> one self-contained file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from vonenet.physiology.recording import Recording
from vonenet.report.page import write_html
from vonenet.report.physiology_consistency import consistency
from vonenet.report.physiology_notes import counts, settings
from vonenet.report.physiology_populations import other_panels, published_panels
from vonenet.report.physiology_rows import read_recorded
from vonenet.report.physiology_scores import every_number, mean_cells, score_lines, text_table
from vonenet.report.physiology_units import examples
from vonenet.report.physiology_words import by_likeness, matches_and_misses, verdict
from vonenet.report.svg import element, marker
from vonenet.report.words import count


def write_physiology_report(recordings: Sequence[Recording], results: Path, out: Path) -> str:
    """Write the page of recorded layers, whole or not at all.

    Args:
        recordings: in the order of the page.
        results: the file with their rows, and perhaps others.
        out: the page.

    Returns:
        The table of scores for the terminal.

    Raises:
        InputError: no recording, one without rows, or a file that cannot be read or written.
    """
    layers = read_recorded(recordings, results)
    best = by_likeness(layers)
    write_html(
        "physiology.html",
        out,
        subject=f"Physiology of {count(len(layers), 'layer')} beside primate V1",
        verdict=verdict(layers),
        findings=matches_and_misses(best[0][0]) if best else [],
        legend=[(layer.label, _sign(layer.style)) for layer in layers],
        lines=score_lines(layers),
        means=mean_cells(layers),
        published=published_panels(layers),
        others=other_panels(layers),
        examples=[examples(layer) for layer in layers],
        consistencies=[found for layer in layers if (found := consistency(layer))],
        counts=counts(layers),
        settings=settings(layers),
        numbers=[(layer, every_number(layer)) for layer in layers],
        sources=results.name,
    )
    return text_table(layers)


def _sign(style: int) -> Markup:
    """A layer's mark, for legends."""
    return element("svg", marker(style, 8, 8), width=16, height=16, aria_hidden="true")

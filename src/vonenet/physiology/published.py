"""Published distributions of V1 properties: the ten histograms that are public.

The counts are those that Marques, Schrimpf & DiCarlo 2021 (bioRxiv 10.1101/2021.03.01.433495)
compare models with, and the ceilings are theirs. All cells are macaque V1.
"""

from __future__ import annotations

from vonenet.physiology.recording import PublishedHistogram

DE_VALOIS_1982A = "De Valois, Yund & Hepler 1982, Vision Research 22:531"
DE_VALOIS_1982B = "De Valois, Albrecht & Thorell 1982, Vision Research 22:545"
SCHILLER_1976 = "Schiller, Finlay & Volman 1976, J Neurophysiol 39:1334"
CAVANAUGH_2002 = "Cavanaugh, Bair & Movshon 2002, J Neurophysiol 88:2530"

# Peak frequency, in four groups of cells
SIMPLE_FOVEAL = (0, 4, 4, 8, 25, 33, 26, 28, 12, 5, 2, 1)
COMPLEX_FOVEAL = (0, 0, 0, 9, 9, 7, 10, 23, 12, 8, 3, 3)
SIMPLE_PARAFOVEAL = (2, 4, 10, 12, 18, 7, 18, 3, 4, 0, 0, 0)
COMPLEX_PARAFOVEAL = (1, 2, 1, 2, 5, 15, 13, 9, 3, 2, 0, 0)
PEAK_FREQUENCY_CPD = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.2, 16.0, 22.4)

# Low over high cut at 0.707 of the maximum
BANDWIDTH_SIMPLE = (0, 0, 0, 6, 5, 10, 7, 2, 0, 0)
BANDWIDTH_COMPLEX = (0, 3, 4, 10, 17, 6, 2, 1, 0, 0)
PERCENT = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)

YES_OR_NO = (0.0, 0.5, 1.0)
SUPPRESSION_INDEX = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
SIZE_DEG = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SUPPRESSED = "suppression index at least 0.1"


def _histogram(
    name: str,
    paper: str,
    unit: str,
    edges: tuple[float, ...],
    *groups: tuple[int, ...],
    recorded: int | None = None,
    cells: str = "",
    ceiling: float | None = None,
    period: float = 0.0,
    log: bool = False,
) -> PublishedHistogram:
    """Sum the counts of groups of cells; all of them were recorded unless said otherwise."""
    counts = tuple(sum(bins) for bins in zip(*groups, strict=True))
    recorded = recorded or sum(counts)
    return PublishedHistogram(
        name, paper, unit, edges, counts, recorded, cells, ceiling, period, log
    )


# Brain-Score's benchmark, which does not tell simple from complex cells. Not one of the ten: its
# cells are those of the two histograms of bandwidth below.
SF_BANDWIDTH = _histogram(
    "sf_bandwidth",
    SCHILLER_1976,
    "%",
    PERCENT,
    BANDWIDTH_SIMPLE,
    BANDWIDTH_COMPLEX,
    recorded=87,
    cells="selective for spatial frequency",
    ceiling=0.933,
)
PUBLISHED = {
    each.name: each
    for each in (
        _histogram(
            "preferred_orientation",
            DE_VALOIS_1982A,
            "deg",
            (-22.5, 22.5, 67.5, 112.5, 157.5),
            (110, 83, 100, 92),
            ceiling=0.962,
            period=180.0,
        ),
        _histogram(
            "peak_spatial_frequency",
            DE_VALOIS_1982B,
            "cpd",
            PEAK_FREQUENCY_CPD,
            SIMPLE_FOVEAL,
            COMPLEX_FOVEAL,
            SIMPLE_PARAFOVEAL,
            COMPLEX_PARAFOVEAL,
            ceiling=0.967,
            log=True,
        ),
        _histogram("sf_selective", SCHILLER_1976, "", YES_OR_NO, (14, 73), ceiling=0.963),
        _histogram(
            "sf_bandwidth_simple",
            SCHILLER_1976,
            "%",
            PERCENT,
            BANDWIDTH_SIMPLE,
            cells="simple, selective for spatial frequency",
        ),
        _histogram(
            "sf_bandwidth_complex",
            SCHILLER_1976,
            "%",
            PERCENT,
            BANDWIDTH_COMPLEX,
            cells="complex, selective for spatial frequency",
        ),
        _histogram(
            "surround_suppression_index",
            CAVANAUGH_2002,
            "",
            SUPPRESSION_INDEX,
            (66, 44, 38, 23, 16, 3, 0, 0, 0, 0),
            ceiling=0.958,
        ),
        _histogram("strongly_suppressed", CAVANAUGH_2002, "", YES_OR_NO, (42, 148)),
        _histogram(
            "grating_summation_field",
            CAVANAUGH_2002,
            "deg",
            SIZE_DEG,
            (0, 9, 30, 55, 42, 10, 2, 0),
            recorded=190,
            cells=SUPPRESSED,
            ceiling=0.956,
            log=True,
        ),
        _histogram(
            "surround_diameter",
            CAVANAUGH_2002,
            "deg",
            SIZE_DEG,
            (0, 0, 2, 20, 33, 49, 40, 4),
            recorded=190,
            cells=SUPPRESSED,
            ceiling=0.955,
            log=True,
        ),
        _histogram(
            "surround_to_summation_field",
            CAVANAUGH_2002,
            "",
            (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
            (69, 38, 31, 10, 0),
            recorded=190,
            cells=SUPPRESSED,
            log=True,
        ),
    )
}

"""Properties in words, and the sentences that say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vonenet.physiology.recording import PublishedHistogram
from vonenet.report.physiology_rows import CEILED, Recorded, defined, is_missing, is_share
from vonenet.report.words import count, listing
from vonenet.results import Result

NAMES = {
    "preferred_orientation": "preferred orientation",
    "peak_spatial_frequency": "peak spatial frequency",
    "sf_selective": "share selective for spatial frequency",
    "sf_bandwidth": "spatial-frequency bandwidth, all cells",
    "sf_bandwidth_simple": "spatial-frequency bandwidth, simple cells",
    "sf_bandwidth_complex": "spatial-frequency bandwidth, complex cells",
    "surround_suppression_index": "surround suppression index",
    "strongly_suppressed": "share suppressed by a tenth or more",
    "grating_summation_field": "grating summation field",
    "surround_diameter": "surround diameter",
    "surround_to_summation_field": "surround over summation field",
    "summation_field": "summation field, all units",
    "field_x": "receptive field, x",
    "field_y": "receptive field, y",
    "field_diameter": "receptive-field diameter",
    "bandwidth": "orientation half-bandwidth",
    "orth_pref_ratio": "orthogonal over preferred response",
    "orientation_selective": "share selective for orientation",
    "cv_bandwidth_ratio": "circular variance over half-bandwidth",
    "opr_cv_difference": "orthogonal/preferred less circular variance",
    "modulation_ratio": "F1/F0",
    "max_dc": "largest mean rate",
    "c50": "semi-saturation contrast (c50)",
    "naka_rushton_exponent": "Naka-Rushton exponent",
    "cross_orientation_suppression": "cross-orientation suppression",
    "fano_factor": "Fano factor",
    "variance": "variance of the noise",
}
KINDS = {"sf_bandwidth_simple": "simple ", "sf_bandwidth_complex": "complex "}
UNITS = {"deg": "degrees", "cpd": "cycles/degree", "%": "%"}
GOOD, POOR = 0.9, 0.6  # ceiled similarities that count as a match and as a miss
MOST_NAMED = 3


def name_of(property_: str) -> str:
    """A property in words."""
    return NAMES.get(property_, property_.replace("_", " "))


def source_of(published: PublishedHistogram) -> str:
    """Whose cells they are, and how many."""
    which = f" ({published.cells})" if published.cells else ""
    return f"{count(published.n, 'cell')}{which}, {published.paper}"


def decimals(value: float) -> str:
    """A similarity, such as `0.65`."""
    return f"{value:.2f}"


def interval(row: Result) -> str:
    """Such as `[0.59, 0.69]`."""
    return f"[{decimals(row.ci_low)}, {decimals(row.ci_high)}]"


def verdict(layers: Sequence[Recorded]) -> str:
    """Which layer is most like V1, and how much."""
    ranked = by_likeness(layers)
    if not ranked:
        return "No property with a published distribution was measured."
    best, mean = ranked[0]
    over = count(int(mean.flags["properties"]), "published property", "published properties")
    scored = f"{decimals(mean.value)} {interval(mean)}"
    if not ranked[1:]:
        return f"The similarity of {best.label} to V1 is {scored}, the mean over {over}."
    second, other = ranked[1]
    told = "" if mean.ci_low > other.ci_high else ", whose interval overlaps"
    return (
        f"Of {count(len(layers), 'recorded layer')}, {best.label} is most like V1: {scored} on "
        f"average over {over}, before {second.label} with {decimals(other.value)} "
        f"{interval(other)}{told}."
    )


def by_likeness(layers: Sequence[Recorded]) -> list[tuple[Recorded, Result]]:
    """Layers with their means, the most like V1 first; not those with fewer properties."""
    scored = [(layer, layer.mean) for layer in layers]
    known = [(layer, mean) for layer, mean in scored if mean is not None]
    most = max((int(mean.flags["properties"]) for _, mean in known), default=0)
    comparable = [pair for pair in known if pair[1].flags["properties"] == most]
    return sorted(comparable, key=lambda pair: -pair[1].value)


def matches_and_misses(layer: Recorded) -> list[str]:
    """In what a layer is most like V1, and in what least."""
    rows: Mapping[str, Result] = layer.of(CEILED)
    ranked = sorted(layer.published, key=lambda each: -rows[each.name].value)
    said = {each.name: decimals(rows[each.name].value) for each in ranked}
    good = [each for each in ranked if rows[each.name].value >= GOOD] or ranked[:1]
    missed = [each for each in reversed(ranked) if rows[each.name].value < POOR]
    named = [f"{name_of(each.name)} ({said[each.name]})" for each in good]
    found = [f"{layer.label} matches V1 best in {listing(named)}."]
    if missed:
        most = ", most of all" if len(missed) > MOST_NAMED else ""
        found.append(f"It misses {count(len(missed), 'property', 'properties')}{most}:")
        found += [
            f"{name_of(each.name)} ({said[each.name]}): {evidence(layer, each)}"
            for each in missed[:MOST_NAMED]
        ]
    return found


def missing(row: Result) -> str:
    """Why a similarity is 0 although nothing was compared."""
    if not row.n:
        kind = KINDS.get(str(row.condition["property"]), "")
        return f"no {kind}unit responds"
    known = defined(row)
    return f"{'none' if not known else 'only ' + str(known)} of {count(row.n, 'unit')} has one"


def compared(row: Result) -> str:
    """How many units were compared, of how many."""
    known = defined(row)
    return f"{known:,} of {count(row.n, 'unit')}" if known < row.n else count(row.n, "unit")


def evidence(layer: Recorded, published: PublishedHistogram) -> str:
    """A property's values in the layer beside V1's."""
    row = layer.of(CEILED)[published.name]
    if is_missing(row):
        return missing(row)
    values = layer.recording.values(published.name)
    known = values[np.isfinite(values)]
    if is_share(published):
        return f"{100 * known.mean():.0f}% of its units, {100 * published.shares[1]:.0f}% of V1"
    unit = UNITS.get(published.unit, "")
    unit = unit if unit in ("", "%") else f" {unit}"
    low, high = median_bin(published)
    few = f"only {len(known)} of {row.n:,} units have one; " if 2 * len(known) < row.n else ""
    of = "" if few else f" of {count(len(known), 'unit')}"
    return f"{few}median{of} {np.median(known):.2g}{unit}, in V1 between {low:g} and {high:g}{unit}"


def median_bin(published: PublishedHistogram) -> tuple[float, float]:
    """Edges of the bin that holds the median cell."""
    index = int(np.searchsorted(np.cumsum(published.shares), 0.5))
    return published.edges[index], published.edges[index + 1]

"""Cavanaugh, Bair & Movshon 2002 (J Neurophysiol 88:2530): size tuning, surround suppression.

Sizes, frequencies and orientations are those of Marques et al. 2021.
"""

import numpy as np

from vonenet.physiology.fits import STRONG_SUPPRESSION, size_tuning_fit
from vonenet.physiology.preparation import PHASES_DEG, Preparation
from vonenet.physiology.recording import Curve, Population
from vonenet.physiology.stimuli import crossed, evenly_spaced
from vonenet.physiology.tuning import best_curve, f0, larger_component

SOURCE = "Cavanaugh, Bair & Movshon 2002, J Neurophysiol 88:2530"
# Half octaves; those are shown that fit into the canvas
DIAMETERS_DEG = tuple(2.0 ** np.linspace(-2.25, 3.25, 12))
ORIENTATIONS_DEG = evenly_spaced(6, 180.0)


def size(prepared: Preparation) -> Population:
    """Fit the response over size at each unit's best orientation and frequency.

    Properties: `surround_suppression_index`; `strongly_suppressed` (1 for a tenth or more); of such
    units, as published, `grating_summation_field` and `surround_diameter`, degrees, and their
    ratio, `surround_to_summation_field`. `summation_field` is that of all units.
    """
    largest_deg = prepared.subject.canvas.degrees
    design = crossed(
        prepared.grating,
        diameter_deg=(diameter for diameter in DIAMETERS_DEG if diameter <= largest_deg),
        frequency_cpd=prepared.frequencies(),
        orientation_deg=ORIENTATIONS_DEG,
        phase_deg=PHASES_DEG,
    )
    rates = prepared.rates(design, "sizes")
    diameters = design.axis("diameter_deg")
    curves = best_curve(larger_component(rates, prepared.spontaneous), along=2)
    responsive = prepared.responsive(f0(rates))
    fit = size_tuning_fit(
        diameters,
        np.where(responsive[:, None], curves, np.nan),
        progress=prepared.bar("fits of size"),
    )
    index, field = fit.suppression_index, fit.summation_field_deg
    strong = index >= STRONG_SUPPRESSION
    properties = {
        "surround_suppression_index": index,
        "strongly_suppressed": np.where(np.isnan(index), np.nan, strong),
        "grating_summation_field": np.where(strong, field, np.nan),
        "surround_diameter": fit.surround_diameter_deg,
        "surround_to_summation_field": fit.surround_diameter_deg / field,
        "summation_field": field,
    }
    return prepared.population(
        "size",
        SOURCE,
        responsive,
        properties,
        r2=fit.r2,
        curves={"size": Curve("diameter (degrees)", diameters, curves, fit.curve(diameters))},
    )

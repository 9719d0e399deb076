"""De Valois, Albrecht & Thorell 1982 (Vision Research 22:545): spatial-frequency tuning.

Bandwidth and selectivity are those of Schiller, Finlay & Volman 1976 (J Neurophysiol 39:1334).
Frequencies and sizes are those of Marques et al. 2021.
"""

import numpy as np

from vonenet.physiology.experiments.skottun1991 import is_simple
from vonenet.physiology.preparation import PHASES_DEG, Preparation
from vonenet.physiology.recording import Curve, Population
from vonenet.physiology.stimuli import crossed, evenly_spaced
from vonenet.physiology.tuning import best_curve, f0, frequency_peak_and_cuts, larger_component

SOURCE = "De Valois, Albrecht & Thorell 1982, Vision Research 22:545; Schiller et al. 1976"
# Quarter octaves; the model sees those below its Nyquist limit
FREQUENCIES_CPD = tuple(2.0 ** np.linspace(-1.375, 3.875, 22))
ORIENTATIONS_DEG = evenly_spaced(6, 180.0)
DIAMETERS_DEG = (1.5, 4.5)


def spatial_frequency(prepared: Preparation) -> Population:
    """Measure frequency properties at each unit's best orientation and size.

    The peak is that of F0 above the spontaneous rate or of F1, whichever is larger; the bandwidth
    is that of F0, spontaneous activity included, as published.

    Properties: `peak_spatial_frequency` (cycles per degree), `sf_bandwidth` (low over high cut at
    0.707, percent), the same of simple and of complex cells, `sf_bandwidth_simple` and
    `sf_bandwidth_complex`, and `sf_selective` (1 where there are both cuts).
    """
    design = crossed(
        prepared.grating,
        diameter_deg=DIAMETERS_DEG,
        orientation_deg=ORIENTATIONS_DEG,
        frequency_cpd=prepared.frequencies(FREQUENCIES_CPD),
        phase_deg=PHASES_DEG,
    )
    rates = prepared.rates(design, "spatial frequencies")
    frequencies = design.axis("frequency_cpd")
    components = best_curve(larger_component(rates, prepared.spontaneous), along=-1)
    means = f0(rates)
    _, low, high = frequency_peak_and_cuts(frequencies, best_curve(means, along=-1))
    bandwidth = 100 * low / high
    simple = is_simple(prepared)
    properties = {
        "peak_spatial_frequency": frequency_peak_and_cuts(frequencies, components)[0],
        "sf_bandwidth": bandwidth,
        "sf_bandwidth_simple": np.where(simple, bandwidth, np.nan),
        "sf_bandwidth_complex": np.where(simple, np.nan, bandwidth),
        "sf_selective": np.isfinite(bandwidth),
    }
    curve = Curve("spatial frequency (cycles/degree)", frequencies, components)
    return prepared.population(
        "spatial_frequency",
        SOURCE,
        prepared.responsive(means),
        properties,
        among={"sf_bandwidth_simple": simple, "sf_bandwidth_complex": ~simple},
        curves={"spatial_frequency": curve},
    )

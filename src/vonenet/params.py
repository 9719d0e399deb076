"""The original package's module of this name: its draws of Gabor parameters, number by number."""

from __future__ import annotations

from vonenet.v1.parameters import Array, draw_parameters


def generate_gabor_param(
    features: int,
    seed: int = 0,
    rand_flag: bool = False,
    sf_corr: float = 0.0,
    sf_max: float = 9.0,
    sf_min: float = 0.0,
) -> tuple[Array, Array, Array, Array, Array]:
    """Draw sf (cycles/degree), theta, phase (degrees), nx and ny (cycles), as the original does.

    `draw_parameters(features, filters="legacy")` is the same, with the colours.
    """
    filters = "legacy_uniform" if rand_flag else "legacy"
    p = draw_parameters(
        features, filters=filters, seed=seed, sf_corr=sf_corr, sf_max=sf_max, sf_min=sf_min
    )
    return p.frequency_cpd, p.orientation_deg, p.phase_deg, p.nx_cycles, p.ny_cycles

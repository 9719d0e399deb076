"""Receptive fields: where they are and how large (Marques, Schrimpf & DiCarlo 2021).

Mapped by `prepare`, which every experiment needs; here they become properties.
"""

from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Population

NAME = "receptive_field"
SOURCE = "Marques, Schrimpf & DiCarlo 2021, bioRxiv 2021.03.01.433495"


def run(prepared: Preparation) -> Population:
    """Properties: `field_x`, `field_y`, `field_diameter`, degrees."""
    x, y = prepared.fields.centers_deg.T
    properties = {"field_x": x, "field_y": y, "field_diameter": prepared.fields.diameters_deg}
    return prepared.population(NAME, SOURCE, prepared.in_field, properties)

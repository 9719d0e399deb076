"""In-silico physiology: record from any layer as a physiologist would, and compare with V1.

subject = Subject(model, "vone_block", Canvas(degrees=8, pixels=224), trials=20)
prepared = prepare(subject)                          # receptive fields, firing rates
population = EXPERIMENTS["orientation"](prepared)    # properties, curves, counts
population.values("bandwidth")                       # of the units that respond
"""

from vonenet.physiology.canvas import Canvas
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.preparation import Preparation, prepare
from vonenet.physiology.render import render
from vonenet.physiology.subject import Subject
from vonenet.recordings import Curve, Population

__all__ = [
    "EXPERIMENTS",
    "Canvas",
    "Curve",
    "Population",
    "Preparation",
    "Subject",
    "prepare",
    "render",
]

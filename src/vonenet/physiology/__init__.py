"""In-silico physiology: record from any layer as a physiologist would, and compare with V1.

subject = Subject(model, "vone_block", Canvas(degrees=8, pixels=224), trials=20)
prepared = prepare(subject)                          # receptive fields, firing rates
population = EXPERIMENTS["orientation"](prepared)    # properties, curves, counts
population.values("bandwidth")                       # of the units that respond
recording = examine(subject, "my network")           # all experiments
scores_of(recording)                                 # beside published V1
"""

from vonenet.physiology.canvas import Canvas
from vonenet.physiology.examination import examine
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.preparation import Preparation, prepare
from vonenet.physiology.recording import Curve, Population
from vonenet.physiology.render import render
from vonenet.physiology.rows import scores_of
from vonenet.physiology.subject import Subject

__all__ = [
    "EXPERIMENTS",
    "Canvas",
    "Curve",
    "Population",
    "Preparation",
    "Subject",
    "examine",
    "prepare",
    "render",
    "scores_of",
]

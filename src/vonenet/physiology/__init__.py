"""In-silico physiology: record from any layer as a physiologist would, and compare with V1.

subject = Subject(model, "vone_block", Canvas(degrees=8, pixels=224), trials=20)
prepared = prepare(subject)                          # receptive fields, firing rates
population = EXPERIMENTS["orientation"](prepared)    # properties, curves, counts
population.values("bandwidth")                       # of the units that respond
recording = record(subject, "my network")            # all experiments
scores_of(recording)                                 # beside published V1
"""

from vonenet.physiology.experiments import EXPERIMENTS, record
from vonenet.physiology.preparation import Preparation, prepare
from vonenet.physiology.recording import Curve, Population, Recording
from vonenet.physiology.scores import scores_of
from vonenet.physiology.stimuli import Canvas, render
from vonenet.physiology.subject import Subject

__all__ = [
    "EXPERIMENTS",
    "Canvas",
    "Curve",
    "Population",
    "Preparation",
    "Recording",
    "Subject",
    "prepare",
    "record",
    "render",
    "scores_of",
]

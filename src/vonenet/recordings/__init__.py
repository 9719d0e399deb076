"""What was recorded of each unit, as one file on disk: written by physiology, read by the report.

recording = read_recording("physiology/voneresnet50_vone_block.npz")
recording.populations["orientation"].properties["bandwidth"]    # (units,), degrees
recording.populations["size"].curves["size"].rates              # (units, diameters)
"""

from vonenet.recordings.published import Published
from vonenet.recordings.recording import Recording
from vonenet.recordings.storage import read_recording, save_recording
from vonenet.recordings.units import Array, Curve, Drawn, Mask, Population, ReceptiveFields

__all__ = [
    "Array",
    "Curve",
    "Drawn",
    "Mask",
    "Population",
    "Published",
    "ReceptiveFields",
    "Recording",
    "read_recording",
    "save_recording",
]

"""`vonenet physiology`: record from models as a physiologist would, and compare them with V1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Physiology:
    """Record from a layer as a physiologist would and compare it with V1: one page.

    Gratings, patches and plaids in degrees of visual angle; receptive fields, orientation, spatial
    frequency, size, contrast, phase, masking and noise of every unit at the image's centre; their
    distributions beside published ones. What was recorded before is read from its file.

    Attributes:
        model: a name with published weights, a weights file, timm/NAME, untrained/NAME,
            module:function or file.py:function; with @LAYER, that layer of it.
        layer: the layer, by its name in the model; the V1 block if not given.
        compare: further models to record and show beside it, each as MODEL or MODEL@LAYER.
        out: folder for results.jsonl, the recordings and report.html.
        degrees: visual angle of an image; what the model was made for, or 8, if not given.
        trials: noise draws to average each response over; if not given, responses are taken
            before noise, where it can be left out, or over 20 draws.
        seed: seed of the noise and of the resampled units.
        device: where to compute; auto takes a GPU if there is one.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    layer: str | None = None
    compare: tuple[str, ...] = ()
    out: Path = Path("physiology")
    degrees: float | None = None
    trials: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def run(self) -> None:
        """Record, write the page and print its table."""
        from vonenet.cli.recording import record_models
        from vonenet.report.physiology import write_physiology_report

        recordings = record_models(self)
        print(write_physiology_report(recordings, self.out / RESULTS, self.out / "report.html"))
        print(f"\nreport: {(self.out / 'report.html').resolve()}")

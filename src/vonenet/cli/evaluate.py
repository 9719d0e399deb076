"""`vonenet evaluate`: accuracy of models under corruptions and attacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Evaluate:
    """Measure how robust models are: clean, corrupted and attacked images; then audit the attacks.

    Rows are written as they come. Started again, the command goes on where it was stopped; under
    torchrun all processes share the work and the rows stay the same.

    Attributes:
        models: names with published weights, weights files, timm/NAME, module:function or
            file.py:function.
        data: embedded, a folder of images by class, or a folder of parquet files.
        suite: quick (minutes), paper (15 corruptions and 6 attacks), corruptions (all 19), attacks
            (PGD at 12 radii, then stronger ones: APGD, Square, sparse L1 steps), or full.
        limit: measure so many images, class-balanced; all if not given.
        attack_limit: attack so many images, class-balanced; as many as limit if not given.
        out: folder for results.jsonl, audit.jsonl and report.html.
        split: the part of the data.
        image_size: height and width in pixels; what each model was made for if not given.
        batch_size: images at a time.
        decision_samples: noise draws that a stochastic model's decision is averaged over.
        scale_radii: scale the attack radii, which were published for 224 px, to the image size.
        audit: look for signs that the attacks fail.
        seed: seed of noise and corruptions.
        device: where to compute; auto takes a GPU if there is one.
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL...")]
    data: str
    suite: Literal["quick", "paper", "corruptions", "attacks", "full"] = "quick"
    limit: int | None = None
    attack_limit: int | None = None
    out: Path = Path("evaluation")
    split: str = "test"
    image_size: int | None = None
    batch_size: int = 32
    decision_samples: int = 1
    scale_radii: bool = True
    audit: bool = True
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def run(self) -> None:
        """Measure; the first process writes the page and prints its tables."""
        from vonenet.cli.evaluation import run_evaluation
        from vonenet.report.evaluation import write_evaluation_report

        if run_evaluation(self):
            print(write_evaluation_report([self.out], self.out / "report.html"))
            print(f"\nreport: {(self.out / 'report.html').resolve()}")

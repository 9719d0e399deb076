"""`vonenet demo`: a small network and its VOneNet, trained alike, measured alike, one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Demo:
    """Train a small network and its VOneNet on embedded images, measure both, write a report.

    Attributes:
        quick: fewer images, epochs and conditions: about a minute.
        out: folder for report.html, results.jsonl, config.json and the weights.
        seed: seed of weights, order, noise and corruptions.
    """

    quick: bool = False
    out: Path = Path("demo")
    seed: int = 0

    def run(self) -> None:
        """Train, measure, write the page and print its table."""
        from vonenet.cli.demonstration import DemoConfig, run_demo
        from vonenet.v1.memory import keep_freed_memory

        keep_freed_memory()
        config = DemoConfig().with_descent(seed=self.seed)
        print(run_demo(config.quick() if self.quick else config, self.out))
        print(f"\nreport: {(self.out / 'report.html').resolve()}")

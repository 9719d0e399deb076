"""Records with made-up numbers."""

from vonenet.benchmarks.cases import (
    BLOCK_NOISE,
    RESNET_ADVERSARIAL,
    RESNET_TRAINING,
    faster_than_published,
    memory_of_published,
    slower_than_base,
)
from vonenet.benchmarks.floors import Floor
from vonenet.benchmarks.machine import Machine
from vonenet.benchmarks.record import Measurement, Record

GB = 10**9


def machine(kind="cpu", name="Test CPU"):
    return Machine(
        kind=kind,
        name=name,
        threads=2,
        memory_bytes=8 * 2**30,
        system="Linux 6",
        versions={"torch": "2.15"},
        precision="float32",
        matrix_rates={"torch.mm": 1e11, "1x1 convolution": 2e11},
        bandwidth=1e10,
    )


def record(kind="cpu", name="Test CPU", date="2026-01-02"):
    """A block 6 times as fast, and a step that takes 1.5 times as long in half the memory."""
    block = Measurement(
        task=BLOCK_NOISE,
        explanation="Images to responses.",
        batch=8,
        image_px=224,
        seconds={"published": [1.2, 1.2, 1.3], "ours": [0.2, 0.2, 0.2]},
        peak_bytes={"published": 300_000_000, "ours": 100_000_000},
        floor=Floor(operations=2e10, moved_bytes=1e8),
        goals=(faster_than_published(8, 5),),
    )
    step = Measurement(
        task=RESNET_TRAINING,
        explanation="A step.",
        batch=8,
        image_px=224,
        seconds={"published": [4.0], "ours": [1.5], "torchvision": [1.0]},
        peak_bytes={"published": 2 * GB, "ours": GB, "torchvision": GB},
        floor=Floor(operations=1e11, moved_bytes=4e8),
        goals=(slower_than_base(1.2, 1.4), memory_of_published(0.5, 0.75)),
    )
    untimed = Measurement(
        task=RESNET_ADVERSARIAL,
        explanation="Memory only.",
        batch=8,
        image_px=224,
        seconds={},
        peak_bytes={"published": 4 * GB, "ours": GB, "torchvision": GB},
        floor=Floor(operations=1e11, moved_bytes=4e8),
    )
    return Record(machine(kind, name), date, 0, (block, step, untimed))

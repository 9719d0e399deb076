"""Names of our own VOneNets. It imports nothing, so that they can be listed at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelEntry:
    """A registered VOneNet."""

    name: str  # what users type
    backbone: str  # the back-end's name
    trained: int | None = None  # parameters, bottleneck and back-end; None: counted when asked for
    weights: str | None = None  # key of its published weights, if any
    noise: str | None = "neuronal"  # noise mode that it was made with
    stride: int = 4  # of V1 before it, pixels


NAMED_MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry("voneresnet18", "resnet18", 11_712_744),
        ModelEntry("voneresnet34", "resnet34", 21_820_904),
        ModelEntry("voneresnet50", "resnet50", 25_580_264, "resnet50"),
        ModelEntry("voneresnet50_at", "resnet50", 25_580_264, "resnet50_at"),
        ModelEntry("voneresnet50_ns", "resnet50", 25_580_264, "resnet50_ns", noise=None),
        ModelEntry("voneresnet101", "resnet101", 44_572_392),
        ModelEntry("voneresnet152", "resnet152", 60_216_040),
        ModelEntry("vonecornet_s", "cornet_s", 53_402_856, "cornets"),
        ModelEntry("vonealexnet", "alexnet", 74_741_800, "alexnet"),
        ModelEntry("voneresnet_small", "resnet_small", 40_072, stride=2),  # of the demo
        ModelEntry("voneresnet_tiny", "resnet_tiny", 1_517_160),  # for Tiny ImageNet
    )
}

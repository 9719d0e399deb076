"""Attacks, corruptions, and their honest measurement, for any torch model that takes pixels."""

from vonenet.robustness.attacks import pgd
from vonenet.robustness.conditions import Attack, Clean, Condition, Corruption
from vonenet.robustness.corruptions import CORRUPTIONS, corrupt
from vonenet.robustness.evaluate import evaluate
from vonenet.robustness.sampling import (
    MeanResponseModel,
    averaged_gradient,
    averaged_probabilities,
    sample_logits,
)

__all__ = [
    "CORRUPTIONS",
    "Attack",
    "Clean",
    "Condition",
    "Corruption",
    "MeanResponseModel",
    "averaged_gradient",
    "averaged_probabilities",
    "corrupt",
    "evaluate",
    "pgd",
    "sample_logits",
]

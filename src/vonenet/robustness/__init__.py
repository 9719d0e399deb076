"""Attacks, corruptions, and their honest measurement, for any torch model that takes pixels."""

from vonenet.data.pixels import eval_mode
from vonenet.robustness.apgd import apgd
from vonenet.robustness.attacks import fgsm, pgd
from vonenet.robustness.audit import audit
from vonenet.robustness.conditions import Clean, Condition, Corruption, StoredCorruption
from vonenet.robustness.corruptions import CORRUPTIONS, corrupt
from vonenet.robustness.evaluate import evaluate, evaluate_stored, frozen_weights, rank_and_size
from vonenet.robustness.sampling import (
    MeanResponseModel,
    averaged_gradient,
    averaged_probabilities,
    sample_logits,
)
from vonenet.robustness.square import square
from vonenet.robustness.suites import SUITES, Attack, attack_suite, autoattack

__all__ = [
    "CORRUPTIONS",
    "SUITES",
    "Attack",
    "Clean",
    "Condition",
    "Corruption",
    "MeanResponseModel",
    "StoredCorruption",
    "apgd",
    "attack_suite",
    "audit",
    "autoattack",
    "averaged_gradient",
    "averaged_probabilities",
    "corrupt",
    "eval_mode",
    "evaluate",
    "evaluate_stored",
    "fgsm",
    "frozen_weights",
    "pgd",
    "rank_and_size",
    "sample_logits",
    "square",
]

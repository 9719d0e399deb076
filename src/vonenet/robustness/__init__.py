"""Attacks, corruptions, and their honest measurement, for any torch model that takes pixels."""

from vonenet.robustness.attack_condition import Attack
from vonenet.robustness.attacks import apgd, fgsm, pgd, square
from vonenet.robustness.audit import AuditCheck, audit, audit_flags
from vonenet.robustness.autoattack import autoattack
from vonenet.robustness.conditions import Clean, Condition, Corruption
from vonenet.robustness.corruptions import CORRUPTIONS, corrupt
from vonenet.robustness.evaluate import evaluate
from vonenet.robustness.intervals import noisy_accuracy_interval
from vonenet.robustness.processes import rank_and_size
from vonenet.robustness.readiness import ready
from vonenet.robustness.sampling import (
    MeanResponseModel,
    averaged_gradient,
    averaged_probabilities,
    sample_logits,
)
from vonenet.robustness.stored import StoredCorruption, evaluate_stored
from vonenet.robustness.suites import SUITES, attack_suite

__all__ = [
    "CORRUPTIONS",
    "SUITES",
    "Attack",
    "AuditCheck",
    "Clean",
    "Condition",
    "Corruption",
    "MeanResponseModel",
    "StoredCorruption",
    "apgd",
    "attack_suite",
    "audit",
    "audit_flags",
    "autoattack",
    "averaged_gradient",
    "averaged_probabilities",
    "corrupt",
    "evaluate",
    "evaluate_stored",
    "fgsm",
    "noisy_accuracy_interval",
    "pgd",
    "rank_and_size",
    "ready",
    "sample_logits",
    "square",
]

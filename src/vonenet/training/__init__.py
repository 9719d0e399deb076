"""Training of any torch model that takes pixels, by a recipe that is saved with the run.

`train` and `TrainingLog` are imported when first used: a recipe is read without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vonenet.training.config import TrainingRecipe

if TYPE_CHECKING:
    from vonenet.results import EpochRecord
    from vonenet.training.run import TrainingLog
    from vonenet.training.trainer import train

__all__ = ["EpochRecord", "TrainingLog", "TrainingRecipe", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'vonenet.training' has no attribute {name!r}")
    return getattr(import_module("vonenet.training.trainer"), name)

"""Training of any torch model that takes pixels, by a recipe that is saved with the run."""

from vonenet.results import EpochRecord
from vonenet.training.config import TrainingRecipe
from vonenet.training.run import TrainingLog
from vonenet.training.trainer import train

__all__ = ["EpochRecord", "TrainingLog", "TrainingRecipe", "train"]

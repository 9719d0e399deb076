"""Training of any torch model that takes pixels, by a recipe that is saved with the run."""

from vonenet.training.log import EpochRecord, TrainingLog
from vonenet.training.recipe import TrainingRecipe
from vonenet.training.trainer import train

__all__ = ["EpochRecord", "TrainingLog", "TrainingRecipe", "train"]

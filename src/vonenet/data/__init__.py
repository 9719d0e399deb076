"""Labelled images by one address, the embedded default, and the wrapper that normalises pixels."""

from vonenet.data.dataset import ImageArrays, ImageDataset
from vonenet.data.embedded import load_embedded, photograph
from vonenet.data.pixels import PixelModel
from vonenet.data.sources import open_dataset
from vonenet.data.stored_corruptions import open_stored_corruption

__all__ = [
    "ImageArrays",
    "ImageDataset",
    "PixelModel",
    "load_embedded",
    "open_dataset",
    "open_stored_corruption",
    "photograph",
]

"""Labelled images by one address, and the wrapper that normalises pixels."""

from vonenet.data.dataset import ImageArrays, ImageDataset, readable
from vonenet.data.decoding import BrokenImageError
from vonenet.data.pixels import PixelModel, inner_model, preprocessing_text
from vonenet.data.sources import load_embedded, open_dataset, open_stored_corruption, photograph

__all__ = [
    "BrokenImageError",
    "ImageArrays",
    "ImageDataset",
    "PixelModel",
    "inner_model",
    "load_embedded",
    "open_dataset",
    "open_stored_corruption",
    "photograph",
    "preprocessing_text",
    "readable",
]

"""Labelled images by one address, what they hold, and the wrapper that normalises pixels."""

from vonenet.data.broken import BrokenImage, find_broken, readable, without_broken
from vonenet.data.dataset import ImageArrays, ImageDataset
from vonenet.data.decoding import BrokenImageError
from vonenet.data.embedded import load_embedded, photograph
from vonenet.data.inspection import DataReport, inspect_data, inspect_dataset
from vonenet.data.inspection_text import report_text
from vonenet.data.pixels import PixelModel, inner_model
from vonenet.data.sources import open_dataset
from vonenet.data.stored_corruptions import open_stored_corruption

__all__ = [
    "BrokenImage",
    "BrokenImageError",
    "DataReport",
    "ImageArrays",
    "ImageDataset",
    "PixelModel",
    "find_broken",
    "inner_model",
    "inspect_data",
    "inspect_dataset",
    "load_embedded",
    "open_dataset",
    "open_stored_corruption",
    "photograph",
    "readable",
    "report_text",
    "without_broken",
]

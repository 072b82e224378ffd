"""Data: images to train on, to calibrate with and to evaluate on, with one preprocessing."""

from edgecnn.data.images import ImageSet
from edgecnn.data.opening import ImageData, open_data

__all__ = ["ImageData", "ImageSet", "open_data"]

"""Images to train, calibrate and judge on, and the one preprocessing they share."""

from edgecnn.data.images import ImageSet
from edgecnn.data.opening import ImageData, open_data

__all__ = ["ImageData", "ImageSet", "open_data"]

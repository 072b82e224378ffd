"""From a trained CNN checkpoint to an edge board, with proof."""

__version__ = "0.1.0"

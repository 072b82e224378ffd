"""Observe → ranges → place → write: from a float model and images to an INT8 file."""

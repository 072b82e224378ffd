"""Data audit: what is wrong with a set of images and labels."""

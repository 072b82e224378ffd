"""Structured channel pruning: which channels depend on each other, which matter least, and how many are removed."""

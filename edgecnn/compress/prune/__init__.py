"""Structured channel pruning: which channels hang together, which matter least, and how many may go."""

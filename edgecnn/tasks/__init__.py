"""Tasks: what a network is for, one folder each."""

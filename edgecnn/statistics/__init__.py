"""Statistics: proportions and their intervals, samples."""

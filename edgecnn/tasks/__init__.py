"""What a network is for: one folder per task."""

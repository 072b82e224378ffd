"""The words every room shares: light types, no torch."""

"""The report of `edgecnn profile`: document, findings, texts of a layer, and the picture."""

FILES = ("profile.md", "profile.json", "profile.svg")
"""What a profile is written to."""

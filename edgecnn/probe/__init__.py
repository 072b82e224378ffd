"""Probe: what travels to the board. Python 3.8, the standard library, numpy and one runtime; nothing else of ours."""

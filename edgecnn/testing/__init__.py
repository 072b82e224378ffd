"""Conformance tests that authors of plug-ins inherit."""

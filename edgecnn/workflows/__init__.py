"""Workflows: what commands do, callable from Python; nothing here prints."""

"""Optimize, the main job: baseline, compress, export, verify, measure, report, verdict."""

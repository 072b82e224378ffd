"""The main job: baseline, compress, export, verify, measure, report, verdict."""

"""Reports: what a run found, as text, Markdown and JSON."""

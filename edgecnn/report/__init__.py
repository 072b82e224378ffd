"""Reports: the results of a run as text, Markdown, HTML and JSON."""

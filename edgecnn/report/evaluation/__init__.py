"""What `edgecnn evaluate` found: model, the words all renderers share, text, markdown, json, and the pictures."""

"""Schema of what a board's probe sends: hostile until it has passed here; then bounded, typed and harmless."""

"""Commands: options become one call of a workflow, and its result is printed."""

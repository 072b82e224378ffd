"""Who answers images: a torch module or a file in its runtime."""

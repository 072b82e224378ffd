"""Configuration that a person writes in YAML: recipes, devices."""

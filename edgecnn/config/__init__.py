"""What a person writes in YAML: recipes, devices."""

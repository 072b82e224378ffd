"""Check of a candidate against its baseline: its model, its pages, and JUnit's XML."""

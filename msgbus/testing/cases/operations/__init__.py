"""Contract cases: health and replay."""

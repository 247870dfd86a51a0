"""Contract cases: retries, delays, retry exhaustion and dead letters."""

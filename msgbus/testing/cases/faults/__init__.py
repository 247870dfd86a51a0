"""Contract cases: crashes, clock skew, third-party clients, access errors and recorded runs."""

"""Benchmarks: msgbus beside the raw client and FastStream, on equal work, in one run (see docs/performance.md)."""

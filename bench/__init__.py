"""Benchmarks: msgbus beside the raw client and FastStream, with equal work in one run (see docs/performance.md)."""

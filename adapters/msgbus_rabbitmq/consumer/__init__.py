"""Consuming: one channel with one consumer for each queue."""

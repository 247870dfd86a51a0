"""Consuming: one connection per member and group, and on it one channel with one consumer per queue."""

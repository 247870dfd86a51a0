"""Connections: redis-py's connection to a server, a pool of them, and discovery of the primary by sentinels."""

"""Requests to a cluster outside any producer or consumer: topics, offsets and groups."""

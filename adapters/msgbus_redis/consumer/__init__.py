"""Consuming: reading streams in a group, acknowledging, handover and stream maintenance."""

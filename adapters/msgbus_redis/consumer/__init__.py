"""Consuming: the reader of a group's streams, its sessions, acknowledging, handover and stream maintenance."""

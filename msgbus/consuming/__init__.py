"""Consuming: the part of this process in a group.

A member receives deliveries, its worker pools run the callbacks, and its outcome sink publishes copies and
acknowledges.
"""

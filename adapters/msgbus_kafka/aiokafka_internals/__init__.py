"""Patches and replacements of aiokafka's own classes, which depend on its internals."""

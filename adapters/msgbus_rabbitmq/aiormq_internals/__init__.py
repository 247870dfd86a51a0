"""Patches and replacements of aiormq's own classes, which depend on its internals."""

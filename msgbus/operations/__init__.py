"""Tools for operators: dead letters and history of a queue."""

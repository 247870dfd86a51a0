"""Consuming: one aiokafka consumer per group, with a session per assigned partition."""

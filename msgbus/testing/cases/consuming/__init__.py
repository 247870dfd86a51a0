"""Contract cases: groups, order, load sharing, membership, sessions and shutdown."""

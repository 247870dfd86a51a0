"""Contract cases: queues, payloads and the identity of messages."""

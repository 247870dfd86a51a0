"""Failure: copies for retry and dead-letter queues, the forwarder that publishes them, and the circuit breaker."""

"""What happens to a message that failed: copies for retry and dead-letter queues, forwarding, and the outage pause."""

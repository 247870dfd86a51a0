"""Publishing: an idempotent producer, filled partition by partition."""

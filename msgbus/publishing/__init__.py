"""From a publish() call to messages on the broker: encoding, ids, and retries until the deadline."""

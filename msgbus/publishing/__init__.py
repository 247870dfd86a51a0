"""Publishing: encoding, message ids, and retries of a publish until its deadline."""

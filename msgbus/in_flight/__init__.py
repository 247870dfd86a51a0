"""In-flight deliveries: sessions, order per key, and flow control. Pure, no I/O."""

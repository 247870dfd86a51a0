"""State of deliveries in flight: sessions, order per key and flow control. Pure, no I/O."""

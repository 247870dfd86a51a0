"""The notification service: writes one message to the customer for each award."""

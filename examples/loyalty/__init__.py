"""The loyalty service: turns purchases into points and publishes each award."""

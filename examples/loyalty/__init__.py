"""The loyalty service: turns purchases into points, and tells others of each award."""

"""Two services that talk through the broker, and two programs that run them on real purchases."""

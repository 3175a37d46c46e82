"""Log events: where they go, and how long things took."""

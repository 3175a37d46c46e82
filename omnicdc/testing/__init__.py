"""For tests of programs that use the clients. `embedded` is a throw-away PostgreSQL, also for the demo."""

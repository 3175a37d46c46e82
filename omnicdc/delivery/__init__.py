"""What the database is told of published files, and how a waiter learns it."""

"""Reports published files to the database, and waits until a transaction is published."""

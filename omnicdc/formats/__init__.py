"""The shapes of the registry files: how an entry is written, and read back. Pure."""

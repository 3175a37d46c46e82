"""The formats of the registry files: how an entry is rendered, and read back. No I/O."""

"""The formats of the registry files. They render entries and read them back. No I/O."""

"""Replaces files atomically, with their attributes, and reads files without waiting for a pipe."""

"""The registry files on this host: whose they are, what replaces them, and what the manifest says."""

"""The registry files on this host: what is known of them, what replaces them, and the manifest."""

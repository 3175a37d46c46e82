"""The registry files on this host: their state, their publication, and the manifest."""

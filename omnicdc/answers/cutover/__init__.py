"""Compares what Omni's scanners wrote with what omnicdc would write, and finds scanners that still write."""

"""Metrics of the daemon: facts from the loop, their names for Prometheus, and the ways to read them."""

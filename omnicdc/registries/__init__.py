"""Reads CMP and renders each registry in memory: scanners, rows, documents. It writes no file."""

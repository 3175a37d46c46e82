"""Answers questions about the estate: what commands, clients and the page show. Nothing is written."""

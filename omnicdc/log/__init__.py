"""Writes log events, and measures how long the stages of a cycle take."""

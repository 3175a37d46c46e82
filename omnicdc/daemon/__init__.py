"""The process that runs for months: sessions, their loop, what is due by the clock, and its own health."""

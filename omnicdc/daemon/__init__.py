"""The daemon: its sessions, their loop, its periodic tasks, and the test of its own health."""

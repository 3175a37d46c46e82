"""The service: its unit as text, and run by a real systemd."""

"""The service: its unit as text, and as what a real systemd runs."""

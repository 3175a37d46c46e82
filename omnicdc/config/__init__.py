"""Reads the settings from flags, environment variables and one YAML file, and stores the source of each."""

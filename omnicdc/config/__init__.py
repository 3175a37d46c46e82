"""What the operator decided, and where each value was written: flags, variables, one YAML file."""

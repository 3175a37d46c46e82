"""The cutover from Omni's scanners: compare, switch, look for writers, back out."""

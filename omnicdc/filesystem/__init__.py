"""Files of any kind, replaced atomically with their attributes, and read without being held up."""

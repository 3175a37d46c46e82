"""The command `status`: `description` lays the answer out, `watch` shows it live."""

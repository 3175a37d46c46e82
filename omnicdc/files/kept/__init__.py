"""Keeps the last generations in the state directory, so that they can be shown, compared and restored.

`STATE/generations/` holds `blocks/`, each block of a registry under the name of its SHA-256, and `records/`,
one record for each generation. Generations share their equal blocks, so one that changes a project adds a
block or two for each registry. `store` writes, `reading` reads; `bounds` decides what is dropped.
"""

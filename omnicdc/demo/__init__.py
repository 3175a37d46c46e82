"""The demo: a write to CMP propagates before one's eyes, on a PostgreSQL and a daemon of its own.

`cast` is who plays, `house` where, `acts` what; `witness` sees what became of it, `stage` shows it.
"""

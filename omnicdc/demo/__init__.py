"""`omnicdc demo`: writes to a CMP of its own, and shows and checks what becomes of each write.

`run` goes from start to end; `sandbox` is where it runs, `fixtures` what is in CMP, `scenarios` what is done,
`observer` what is seen of it, `output` how that is shown. `embedded` is the PostgreSQL, which tests use as
well.
"""

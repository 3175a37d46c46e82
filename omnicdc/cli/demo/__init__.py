"""`omnicdc demo`: writes to its own CMP, and checks and shows the effect of each write.

`run` runs the whole demo. `sandbox` creates its directory, PostgreSQL and daemon. `fixtures` is the content
of CMP. `scenarios` are the writes and the checks. `observer` watches the effects. `output` prints them.
`command` is the command. The PostgreSQL is `omnicdc.testing.embedded`.
"""

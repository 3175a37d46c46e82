"""What kept generations answer: one of them, the difference of two, and files as they were.

`reference` finds the generation that a user names. The daemon keeps them: see `files.kept`.
"""

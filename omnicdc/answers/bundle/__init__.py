"""What a bug report needs: facts about omnicdc, the host and the database. No passwords, no data of CMP.

`collect` runs the collectors; a part that cannot be had is named with its reason. Every text passes `privacy`
before it is written, whoever collected it.
"""

"""The exceptions, grouped by what to do about them.

OmnicdcError                     message, hint (what to run), context (keys for the log)
├── TransientError               the same call may succeed later: keep the changes, retry
│   ├── DatabaseUnavailable      no connection, or it was lost
│   │   └── ServerFull           the server has no connection left for us
│   ├── Interrupted              a stop was requested during long work
│   └── LockBusy                 another process or session holds the root, the name or the table
├── RegistryError                one registry cannot be scanned or written: hold it, go on
├── ConfigError                  an argument or a setting is wrong: a user must fix it
└── SchemaMismatch               the database lacks what omnicdc needs: a user must fix it
"""

from __future__ import annotations


class OmnicdcError(Exception):
    """Something failed. `hint` is the command that fixes it.

    `again` is true if the next attempt may succeed without a fix. The daemon makes that attempt
    automatically; after a command or a client call, the user must make it. So `advice` says it, not `hint`.
    """

    def __init__(self, message: str, *, hint: str = "", again: bool = False, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.again = again
        self.context = context

    def advice(self, *, retrying: bool = False) -> str:
        """Return what to do. `retrying` is true in a report of work that is retried automatically."""
        attempt = ("retrying automatically" if retrying else "run it again") if self.again else ""
        return "; ".join(filter(None, [attempt, self.hint]))

    def __str__(self) -> str:
        """Return one line: the message, a dash, and the advice for a user whose call is not retried."""
        advice = self.advice()
        return f"{self.message} - {advice}" if advice else self.message


class TransientError(OmnicdcError):
    """The cause may end without a fix."""


class DatabaseUnavailable(TransientError):  # noqa: N818 - named for the state, as psycopg names its own
    """CMP cannot be reached, or the connection was lost."""


class ServerFull(DatabaseUnavailable):
    """CMP answers, but has no free connection for us."""


class Interrupted(TransientError):  # noqa: N818 - as above
    """A stop was requested during long work. Its partial result is discarded."""


class LockBusy(TransientError):  # noqa: N818 - as above
    """Another process or session holds a lock that this process needs."""


class RegistryError(OmnicdcError):
    """One registry cannot be scanned or written; the other registries are not affected."""


class ConfigError(OmnicdcError):
    """An argument or a setting cannot be used."""


class SchemaMismatch(OmnicdcError):  # noqa: N818 - as above
    """The database lacks what omnicdc needs, or has an older or newer version of it."""

"""The exceptions, by what is to be done about them.

OmnicdcError                     message, hint (what to run), context (keys for the log)
├── TransientError               the same call may succeed later: keep the changes, retry
│   ├── DatabaseUnavailable      no connection, or it was lost
│   │   └── ServerFull           the server has no connection left for us
│   ├── Interrupted              a stop was asked for in the middle of long work
│   └── LockBusy                 somebody else holds the root, the name or the table
├── RegistryError                this one registry cannot be scanned or written: set aside, go on
├── ConfigError                  what was typed or configured is wrong: a person must act
└── SchemaMismatch               the database lacks what omnicdc needs: a person must act
"""

from __future__ import annotations


class OmnicdcError(Exception):
    """Something failed; `hint` is the command that fixes it.

    `again` says that the next attempt may succeed without it. Who makes that attempt depends on who reports
    the error: the daemon does by itself, for a command or a client its user does. So it is not in `hint`, but
    in `advice`.
    """

    def __init__(self, message: str, *, hint: str = "", again: bool = False, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.again = again
        self.context = context

    def advice(self, *, retrying: bool = False) -> str:
        """Return what to do: for a report of what is retried automatically, or not."""
        attempt = ("retrying automatically" if retrying else "run it again") if self.again else ""
        return "; ".join(filter(None, [attempt, self.hint]))

    def __str__(self) -> str:
        """Return one line: the message, and what to do after a dash; the reader is not the daemon."""
        advice = self.advice()
        return f"{self.message} - {advice}" if advice else self.message


class TransientError(OmnicdcError):
    """It may pass by itself."""


class DatabaseUnavailable(TransientError):  # noqa: N818 - named for the state, as psycopg names its own
    """CMP cannot be reached, or the connection was lost."""


class ServerFull(DatabaseUnavailable):
    """CMP answers, and has no connection left for us."""


class Interrupted(TransientError):  # noqa: N818 - as above
    """A stop was asked for in the middle of long work; nothing of it counts."""


class LockBusy(TransientError):  # noqa: N818 - as above
    """Another process holds what this one needs for itself."""


class RegistryError(OmnicdcError):
    """One registry cannot be scanned or written; the others are not concerned."""


class ConfigError(OmnicdcError):
    """What a person typed or configured cannot be used."""


class SchemaMismatch(OmnicdcError):  # noqa: N818 - as above
    """The database lacks what omnicdc needs, or has an older or newer shape of it."""

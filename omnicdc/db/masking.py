"""Finds and hides the passwords in a connection string, by libpq's own list of secret options."""

from __future__ import annotations

import difflib
import re

from omnicdc.log.scrub import HIDDEN


def holds_secret(dsn: str | None) -> bool:
    """Whether a connection string contains a password or another value that libpq itself hides.

    False for a connection string that does not parse: `conninfo.Target.assembled` refuses it later.
    """
    return bool(secrets(dsn))


def secrets(dsn: str | None) -> tuple[str, ...]:
    """Return the secret values of a connection string; none if it does not parse."""
    given = _parsed(dsn or "") or {}
    return tuple(str(given[option]) for option in sorted(_secret_options()) if given.get(option))


def masked(dsn: str) -> str:
    """Return a connection string as `key=value`, with *** for each secret value; *** if it does not parse."""
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - importing `config` must stay fast

    given = _parsed(dsn)
    if given is None:
        return HIDDEN
    return make_conninfo("", **given | {option: HIDDEN for option in _secret_options() if given.get(option)})


def harmless(complaint: str) -> str:
    """Remove the text that libpq quotes, because it may be part of a password.

    A quoted text that is almost the name of an option is kept.
    """
    from psycopg.pq import Conninfo  # noqa: PLC0415

    quoted = re.fullmatch(r'invalid (?:connection option|URI query parameter):? "(\w+)"\s*', complaint)
    options = [it.keyword.decode() for it in Conninfo.get_defaults()]
    if quoted and (near := difflib.get_close_matches(quoted[1], options, n=1)):
        return f"no such option as {quoted[1]}, did you mean {near[0]}?"
    return re.sub(r'(?<!"[=\]])"(?![=\]]).*', "…", complaint.strip(), flags=re.DOTALL)


def _parsed(dsn: str) -> dict[str, str | int | None] | None:
    from psycopg import ProgrammingError  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        return dict(conninfo_to_dict(dsn))
    except ProgrammingError:
        return None


def _secret_options() -> set[str]:
    from psycopg.pq import Conninfo  # noqa: PLC0415

    options = Conninfo.get_defaults()
    return {it.keyword.decode() for it in options if it.dispchar == b"*" or it.keyword.startswith(b"scram_")}

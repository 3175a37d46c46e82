"""An answer of a client or a command, as JSON."""

from __future__ import annotations

import json
from datetime import datetime


def as_json(answer: object) -> str:
    """Return an answer as JSON text, without a newline at the end: on several lines, in UTF-8's characters.

    What JSON does not have (UUIDs, paths) becomes its usual text, and times are RFC 3339.
    """
    return json.dumps(answer, indent=2, ensure_ascii=False, default=_text)


def as_json_line(answer: object) -> str:
    """As `as_json`, but on one line: for a stream of answers."""
    return json.dumps(answer, ensure_ascii=False, default=_text)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

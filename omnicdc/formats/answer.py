"""An answer of a client or a command, as JSON."""

from __future__ import annotations

import json


def as_json(answer: object) -> str:
    """Return an answer as JSON text, without a newline at the end: on several lines, in UTF-8's characters.

    What JSON does not have (UUIDs, dates and times, paths) becomes its usual text.
    """
    return json.dumps(answer, indent=2, ensure_ascii=False, default=str)


def as_json_line(answer: object) -> str:
    """As `as_json`, but on one line: for a stream of answers."""
    return json.dumps(answer, ensure_ascii=False, default=str)

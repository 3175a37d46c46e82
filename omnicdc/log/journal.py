"""Sends log events to systemd's journal with their fields, so that `journalctl` can select by them.

The format is that of https://systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram for each event. The file
systemd/omnicdc.catalog explains each of the MESSAGE_IDS to `journalctl -x`.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = Path("/run/systemd/journal/socket")

MESSAGE_IDS = {
    "held": "a05acf4da94643bb8c5155df3a24cb0c",
    "released": "561bf2d2eae441d6906d1a7835f0d348",
    "quarantined": "f1e31bf5fcae432c81cf43be9040dd2b",
    "drift_found": "e12938cb6aa64023bee5f2440bf65325",
    "capture_broken": "a20541aa33b04403a8cfff4c6492745d",
    "watch_list_differs": "85599cfe719e4b4b9e27323e9ccddb81",
    "canary_lost": "aa3eecf1dea4478d92c7eaa892a5daab",
    "session_lost": "cfbd4162d38e465fbf16990216a7cf40",
    "database_unavailable": "22c20184558c40a3a1882a55380c26e6",
    "recovered": "3c8bfb28dd654ae0a85cd251f72f41ed",
    "reload_failed": "ea7c86b3bc754c08a68670be5600ddfe",
    "hook_failed": "8d71c1d35ba044cea70875326c8d2d49",
    "input_fault": "1e5bb8f3da534b669f83034ec8c7e488",
    "prune_failed": "529fccaf05684350b7685b7af09b1ee3",
}
"""Log event to its identifier in the journal. An identifier never changes: programs select by it."""

PREFIX = "OMNICDC_"

LONGEST_NAME = 64
"""The largest number of characters in the name of a field: journald ignores a longer one."""


class Journal:
    """The journal's socket. Sending never waits."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send one entry. Return False if it was not sent.

        The causes are a full socket, an entry that is larger than a datagram, and a missing socket.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto(encoded(fields), self._path)
            except OSError:
                return False
        return True


def fields_of(event: Mapping[str, Any], message: str, priority: int) -> dict[str, str]:
    """Return the fields of an event: its text, its severity, its identifier, and a field for each plain key.

    A list of texts becomes one text with blanks. Other lists and mappings are in `message` only.
    """
    name = str(event.get("event", ""))
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "omnicdc"}
    if name in MESSAGE_IDS:
        fields["MESSAGE_ID"] = MESSAGE_IDS[name]
    for key, value in event.items():
        text = " ".join(value) if _is_texts(value) else value
        field = PREFIX + re.sub(r"[^A-Z0-9]", "_", key.upper())
        if isinstance(text, str | int | float) and len(field) <= LONGEST_NAME:
            fields[field] = str(text)
    return fields


def encoded(fields: Mapping[str, str]) -> bytes:
    """Return the datagram of an entry. Each value is written with its length, as it may contain newlines."""
    parts = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
    return b"".join(parts)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value)

"""The journal gets each event with its severity, its identifier and its fields."""

from __future__ import annotations

import json
import os
import re
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from omnicdc.log.events import configure
from omnicdc.log.journal import MESSAGE_IDS, fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CATALOG = Path(__file__).parents[2] / "systemd/omnicdc.catalog"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that receives what journald would receive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.setblocking(False)
        yield receiver
    structlog.reset_defaults()


def decoded(datagram: bytes) -> dict[str, str]:
    """Read an entry as https://systemd.io/JOURNAL_NATIVE_PROTOCOL defines it."""
    fields = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        datagram = rest[9 + size :]
    return fields


@contextmanager
def logging_to(stream: Path, receiver: Path) -> Iterator[Any]:
    """Give a logger that writes to the file `stream`, as if it led to the journal of `receiver`."""
    with stream.open("w") as file:
        found = os.fstat(file.fileno())
        configure(stream=file, environ={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, journal=receiver)
        yield structlog.get_logger()


def test_an_event_has_fields_an_identifier_and_its_severity(tmp_path: Path, journal: socket.socket) -> None:
    with logging_to(tmp_path / "stderr", tmp_path / "journal") as log:
        log.warning("held", registry="git", reason="line one\nline two", hint="password=x")

    fields = decoded(journal.recv(10_000))
    assert json.loads(fields.pop("MESSAGE"))["reason"] == "line one\nline two"
    assert fields.pop("OMNICDC_TIMESTAMP").endswith("Z")
    assert fields == {
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "omnicdc",
        "MESSAGE_ID": MESSAGE_IDS["held"],
        "OMNICDC_EVENT": "held",
        "OMNICDC_LEVEL": "warning",
        "OMNICDC_REGISTRY": "git",
        "OMNICDC_REASON": "line one\nline two",
        "OMNICDC_HINT": "password=***",
    }
    assert (tmp_path / "stderr").read_text() == ""


def test_an_event_that_the_journal_does_not_take_is_a_line_on_stderr(
    tmp_path: Path, journal: socket.socket
) -> None:
    """The socket is missing, or the event is larger than a datagram."""
    with logging_to(tmp_path / "lines", tmp_path / "nowhere") as log:
        log.error("capture_broken", fault="disabled")
    with logging_to(tmp_path / "large", tmp_path / "journal") as log:
        log.info("published", registries=["x" * 10_000_000])

    assert (tmp_path / "lines").read_text().startswith('<3>{"timestamp"')
    assert (tmp_path / "large").read_text().startswith('<6>{"timestamp"')
    with pytest.raises(BlockingIOError):
        journal.recv(10)


@pytest.mark.parametrize(
    ("value", "field"),
    [(["git", "project"], "git project"), (3, "3"), ({"git": "x"}, None), (None, None), ([1], None)],
)
def test_only_plain_values_are_fields(value: object, field: str | None) -> None:
    fields = fields_of({"event": "published", "some-key": value, "k" * 70: "too long"}, "{}", 6)

    assert fields.get("OMNICDC_SOME_KEY") == field
    assert "MESSAGE_ID" not in fields
    assert max(map(len, fields)) <= 64


def test_the_catalog_explains_each_identifier_by_fields_that_its_event_has() -> None:
    """`journalctl -x` would show an unknown field as it is written."""
    entries = dict(
        re.findall(r"^-- ([0-9a-f]{32})\n(.*?)(?=^-- |\Z)", CATALOG.read_text(), re.MULTILINE | re.DOTALL)
    )
    source = "\n".join(path.read_text() for path in (CATALOG.parents[1] / "omnicdc").rglob("*.py"))

    assert set(entries) == set(MESSAGE_IDS.values())
    for event, identifier in MESSAGE_IDS.items():
        assert entries[identifier].startswith("Subject: ")
        for key in re.findall(r"@OMNICDC_(\w+)@", entries[identifier]):
            assert re.search(rf"\b{key.lower()}=", source), (event, key)

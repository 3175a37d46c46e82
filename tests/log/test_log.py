"""The log: JSON events on a pipe, readable lines on a terminal, and no secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from omnicdc.log.events import Repeating, configure
from omnicdc.log.scrub import HIDDEN, scrubbed

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(password: str) -> None:
    raise ValueError(f"could not connect to postgresql://u:{password}@db/cms")


def test_a_pipe_gets_one_json_object_per_line() -> None:
    configure("info", stream := io.StringIO())

    structlog.get_logger().info("published", registry="a\nb", bytes=3, root=Path("/infra"))

    (event,) = lines(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "published", "level": "info", "registry": "a\nb", "bytes": 3, "root": "/infra"
    }  # fmt: skip


def test_events_below_the_level_are_not_logged() -> None:
    configure("warning", stream := io.StringIO())

    structlog.get_logger().info("idle")
    structlog.get_logger().warning("held")

    assert [event["event"] for event in lines(stream)] == ["held"]


def test_bound_keys_are_in_every_event() -> None:
    configure("info", stream := io.StringIO())

    with structlog.contextvars.bound_contextvars(registry="git"):
        structlog.get_logger().info("scanned")

    assert lines(stream)[0]["registry"] == "git"


def test_a_traceback_is_structured_without_local_variables_and_passwords() -> None:
    configure("info", stream := io.StringIO())

    try:
        fail(SECRET)
    except ValueError:
        structlog.get_logger().exception("broken")

    (event,) = lines(stream)
    (stack,) = event["exception"]
    assert "hunter2" not in stream.getvalue()
    assert stack["exc_type"] == "ValueError"
    assert [frame["name"] for frame in stack["frames"]][-1] == "fail"
    assert "locals" not in stack["frames"][0] or stack["frames"][0]["locals"] is None


def terminal_output(**environ: str) -> str:
    """Return what a real terminal shows for an event and for an exception."""
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as stream:
        configure("info", stream, environ=environ)
        structlog.get_logger().info("published", registry="git", name="\x1b[2Jcleared")
        try:
            fail(SECRET)
        except ValueError:
            structlog.get_logger().exception("broken")
    shown = b""
    with os.fdopen(parent, "rb", buffering=0) as screen:
        try:
            while chunk := screen.read(4096):
                shown += chunk
        except OSError:  # Linux says EIO once the other end is closed
            pass
    return shown.decode()


def test_a_terminal_gets_colour_and_a_readable_traceback() -> None:
    shown = terminal_output()

    assert "\x1b[" in shown
    assert "Traceback (most recent call last)" in shown
    assert "hunter2" not in shown


def test_no_color_is_respected_and_data_cannot_control_the_terminal() -> None:
    shown = terminal_output(NO_COLOR="1")

    assert "\x1b" not in shown
    assert "published" in shown
    assert "registry=git" in shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@db/cms", "connecting to postgres://u:hunter2@x@db failed",
        "https://:hunter2@host", "host=db password=hunter2 user=u", "password = 'it''s hunter2'",
        r"password='it\'s hunter2' x", "postgresql://db/cms?user=u&password=hunter2&x=1",
        "PGPASSWORD=hunter2", "CMP_DB_PASSWORD: hunter2", '{"password": "a hunter2"}',
        "{'password': 'a hunter2'}", repr("x='password=\\'a hunter2\\''"),
        "alter role u password 'a hunter2'", "passwd=hunter2", r"password=a\ hunter2",
        "https://x-access-token:ghp_hunter2@github.com/a/b", "https://ghp_hunter2hunter2@github.com/a/b",
        "sslpassword=hunter2", "curl -H 'Authorization: Bearer hunter2' x", "authorization: hunter2",
        "/etc/omnicdc/password=hunter2", "/srv/x: password: hunter2", "/etc/a.yaml:3:password: hunter2x",
    ],
)  # fmt: skip
def test_a_secret_is_hidden_in_every_spelling(text: str) -> None:
    assert SECRET not in scrubbed(text)
    assert HIDDEN in scrubbed(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u@db:5433/cms", "https://github.com/a/b.git",
        'password authentication failed for user "u"', "2026-11-22T20:59:55+00:00", "git@github.com:a/b",
        "a: b @ c", "/etc/omnicdc/cmp_password: Permission denied - `chown omnicdc /etc/omnicdc`",
        "CMP: '/etc/omnicdc/password': No such file or directory", "/x/password: wrong; /y/passwd: empty",
    ],
)  # fmt: skip
def test_a_text_without_secrets_stays_unchanged(text: str) -> None:
    assert scrubbed(text) == text


def test_scrubbing_a_long_hostile_text_is_fast() -> None:
    started = time.process_time()

    for hostile in (
        "password='" + "\\" * 50_000,
        "x://" * 20_000,
        "password=" * 20_000,
        "passwd" + " " * 50_000,
    ):
        scrubbed(hostile)

    assert time.process_time() - started < 20  # seconds; trying all ways would take hours


@given(
    st.recursive(
        st.text() | st.integers() | st.binary(), lambda it: st.dictionaries(st.text(), it) | st.lists(it)
    )
)
def test_any_value_can_be_logged_and_read_back(value: object) -> None:
    configure("info", stream := io.StringIO())

    structlog.get_logger().info("seen", value=value)

    assert len(lines(stream)) == 1


def test_secrets_are_found_inside_values_and_by_their_key() -> None:
    configure("info", stream := io.StringIO())

    structlog.get_logger().info(
        "x",
        a=[{"dsn": "postgresql://u:hunter2@db"}],
        password=SECRET,
        b=ValueError("password=hunter2"),
        c={1: {2}},
    )

    (event,) = lines(stream)
    assert SECRET not in stream.getvalue()
    assert event["password"] == HIDDEN
    assert event["c"] == {"1": [2]}


def test_a_text_that_is_not_unicode_is_logged() -> None:
    configure("info", stream := io.StringIO())

    structlog.get_logger().info("clone", path=os.fsdecode(b"/src/\xff"))

    assert lines(stream)[0]["path"] == "/src/\\udcff"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_log_that_cannot_be_written_raises_no_error() -> None:
    with io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True) as full:
        configure("info", full)

        structlog.get_logger().info("first")

        with pytest.raises(OSError, match="No space left"):
            full.write("straight")


def test_a_closed_log_raises_no_error() -> None:
    configure("info", stream := io.StringIO())
    stream.close()

    structlog.get_logger().info("not read")


def test_warnings_and_messages_of_libraries_become_events() -> None:
    configure("info", stream := io.StringIO())
    configure("info", stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    logging.getLogger("psycopg").error("lost it: password=hunter2")
    logging.getLogger("psycopg").info("chatter")

    warned, logged = lines(stream)
    assert (warned["event"], warned["logger"], warned["level"]) == ("library", "py.warnings", "warning")
    assert (logged["logger"], logged["level"]) == ("psycopg", "error")
    assert logged["message"] == f"lost it: password={HIDDEN}"


def test_the_default_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.get_logger().info("here")

    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "here"
    assert captured.out == ""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_repeated_failure_is_logged_at_once_then_less_and_less_often() -> None:
    clock = Clock()
    failure = Repeating("session_lost", clock)
    logged_at: list[float] = []

    with capture_logs() as logs:
        for second in range(0, 4 * 3600, 10):
            clock.now = 1000.0 + second
            before = len(logs)
            failure.failed(error="refused")
            logged_at += [second / 60] if len(logs) > before else []

    assert logged_at == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert [log["count"] for log in logs][:3] == [1, 7, 19]
    assert logs[0] == {"event": "session_lost", "log_level": "warning", "count": 1, "error": "refused"}


def test_the_end_of_a_failure_is_logged_once_and_resets_the_count() -> None:
    clock = Clock()
    failure = Repeating("session_lost", clock)

    with capture_logs() as logs:
        failure.recovered()
        failure.failed()
        clock.now += 5
        failure.failed()
        failure.recovered(server="db")
        failure.recovered()
        failure.failed()

    assert [(log["event"], log["count"]) for log in logs] == [
        ("session_lost", 1), ("recovered", 2), ("session_lost", 1)
    ]  # fmt: skip
    assert logs[1]["failure"] == "session_lost"
    assert logs[1]["lasted_s"] == 5.0
    assert logs[1]["server"] == "db"


def test_a_new_cause_of_a_repeated_failure_is_logged_at_once() -> None:
    """A cause that differs only in numbers is not new.

    Regression: a wrong password, after the server was unreachable, was logged a minute late.
    """
    failure = Repeating("session_lost", Clock())
    causes = [
        "refused by port 5432",
        "refused by port 5433",
        "wrong password",
        "refused by port 5434",
        "wrong password",
    ]

    with capture_logs() as logs:
        for cause in causes:
            failure.failed(cause, error=cause)

    assert [log["error"] for log in logs] == ["refused by port 5432", "wrong password"]

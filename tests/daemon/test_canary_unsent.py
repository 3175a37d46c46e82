"""A canary that cannot be sent is reported, and the daemon becomes ready all the same."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors as pg
from support.cmp import Cmp
from support.host import until

from omnicdc.daemon.canary import SECOND_CONNECTION, UNSENT, unsent
from omnicdc.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.host import Daemon, Host
    from support.sessions import People


class NotifySocket:
    """A NOTIFY_SOCKET that is read all the time, because a full socket would block its writer."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while (message := self._socket.recv(4096)) != b"end":
            self.messages.append(message.decode())

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"end", self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[NotifySocket]:
    notify_socket = NotifySocket(tmp_path / "notify")
    yield notify_socket
    notify_socket.close()


def start_ready_daemon(
    host: Host, notify_socket: NotifySocket, reason: str, **env: str
) -> tuple[Daemon, dict[str, Any]]:
    """Start a daemon that cannot send its canary. Return it, and the event that it logged.

    The daemon is ready, feeds the watchdog, and reports the fault in its log, to systemd and in `status`.
    """
    daemon = host.daemon(NOTIFY_SOCKET=notify_socket.path, **env)
    lost = daemon.wait_for("canary_lost")
    until(lambda: any("READY=1" in message for message in notify_socket.messages), "the daemon is ready")
    until(
        lambda: any(reason in message for message in notify_socket.messages), "the reason is sent to systemd"
    )
    fed = notify_socket.messages.count("WATCHDOG=1")
    until(lambda: notify_socket.messages.count("WATCHDOG=1") > fed, "the watchdog is fed")
    with Cmp(host.env["OMNICDC_DSN"]) as cmp:
        until(lambda: cmp.consumer("host")["last_error"], "the fault is in the database")
    answer = host.ask("status")

    assert [event["event"] for event in daemon.events].count("canary_lost") == 1
    assert any(lost["reason"] in fault and lost["hint"] in fault for fault in answer["faults"])
    return daemon, lost


def test_a_daemon_with_one_connection_serves_and_reports_the_missing_one(
    cmp: Cmp, host: Host, people: People, notify_socket: NotifySocket
) -> None:
    """Regression: READY was never sent, and `systemctl enable --now` hung."""
    role = people.add("omnicdc_daemon")
    cmp.conn.execute(f"alter role {role} connection limit 1".encode())
    cmp.upsert("apollo")
    daemon_dsn, host.env["OMNICDC_DSN"] = people.dsn(role), cmp.dsn
    _, lost = start_ready_daemon(host, notify_socket, "cannot be sent", OMNICDC_DSN=daemon_dsn)

    assert lost["hint"] == SECOND_CONNECTION


def test_a_canary_that_the_server_refuses_to_delete_is_reported(
    cmp: Cmp, host: Host, notify_socket: NotifySocket
) -> None:
    """A publication carries the canary's table, which no longer has a replica identity."""
    cmp.conn.execute("set client_min_messages = error; create publication everything for all tables")
    cmp.conn.execute("insert into omnicdc.allowed_publication values ('everything')")
    cmp.conn.execute("alter table omnicdc.canary replica identity nothing")
    daemon, lost = start_ready_daemon(host, notify_socket, "replica identity")
    install = host.run("install")
    recovered = daemon.wait_for("canary_ok")

    assert "`omnicdc install`" in lost["hint"]
    assert install.returncode == 0
    assert recovered["was"] == lost["reason"]


def test_a_canary_in_a_read_only_session_is_reported(
    cmp: Cmp, host: Host, notify_socket: NotifySocket
) -> None:
    """The canary's connection is read-only if the role's settings were altered after the first connection."""
    cmp.conn.execute(
        """create or replace function omnicdc.release_canary() returns xid8 language plpgsql as
           $$ begin
             raise sqlstate '25006' using message = 'cannot execute INSERT in a read-only transaction';
           end $$"""
    )
    _, lost = start_ready_daemon(host, notify_socket, "read-only")

    assert "default_transaction_read_only" in lost["hint"]


@pytest.mark.parametrize(
    ("exc", "hint"),
    [
        (pg.QueryCanceled("Anweisung wird abgebrochen"), "statement_timeout"),
        (pg.ObjectNotInPrerequisiteState("kann nicht aus Tabelle löschen"), "replica identity"),
        (pg.InvalidColumnReference("kann nicht aus Tabelle löschen"), "column list"),
        (pg.InsufficientPrivilege("keine Berechtigung"), "renews the daemon's rights"),
        (pg.LockNotAvailable("abgebrochen"), "holds a lock"),
        (psycopg.OperationalError("connection failed: FATAL: zu viele Verbindungen"), SECOND_CONNECTION),
        (DatabaseUnavailable("lets nobody else in"), SECOND_CONNECTION),
    ],
)
def test_the_remedy_depends_on_the_sqlstate_and_not_on_the_language(exc: psycopg.Error, hint: str) -> None:
    fault = unsent(exc)

    assert fault.reason.startswith(UNSENT)
    assert hint in fault.hint


def test_a_missing_canary_table_has_install_as_its_remedy() -> None:
    assert (
        unsent(pg.UndefinedTable('relation "omnicdc.canary" does not exist')).hint == "run `omnicdc install`"
    )

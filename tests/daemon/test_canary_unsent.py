"""Whatever keeps the canary from being sent is reported, and does not keep the daemon from being ready."""

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


class Systemd:
    """A NOTIFY_SOCKET, read all the time: a full one would stop whoever writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while (message := self._socket.recv(4096)) != b"end":
            self.told.append(message.decode())

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"end", self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


def is_ready_and_says(host: Host, systemd: Systemd, reason: str, **env: str) -> tuple[Daemon, dict[str, Any]]:
    """Start a daemon that is ready, keeps the watchdog quiet, and has told log and status.

    Returns what it logged.
    """
    daemon = host.daemon(NOTIFY_SOCKET=systemd.path, **env)
    lost = daemon.wait_for("canary_lost")
    until(lambda: any("READY=1" in told for told in systemd.told), "it is ready")
    until(lambda: any(reason in told for told in systemd.told), "systemd is told why")
    fed = systemd.told.count("WATCHDOG=1")
    until(lambda: systemd.told.count("WATCHDOG=1") > fed, "the watchdog is kept quiet")
    with Cmp(host.env["OMNICDC_DSN"]) as cmp:
        until(lambda: cmp.consumer("host")["last_error"], "the database is told")
    answer = host.ask("status")

    assert [event["event"] for event in daemon.events].count("canary_lost") == 1
    assert any(lost["reason"] in fault and lost["hint"] in fault for fault in answer["faults"])
    return daemon, lost


def test_with_one_connection_the_daemon_serves_and_says_what_is_missing(
    cmp: Cmp, host: Host, people: People, systemd: Systemd
) -> None:
    """READY was never sent, and `systemctl enable --now` hung."""
    role = people.add("omnicdc_daemon")
    cmp.conn.execute(f"alter role {role} connection limit 1".encode())
    cmp.upsert("apollo")
    daemon_dsn, host.env["OMNICDC_DSN"] = people.dsn(role), cmp.dsn
    _, lost = is_ready_and_says(host, systemd, "cannot be sent", OMNICDC_DSN=daemon_dsn)

    assert lost["hint"] == SECOND_CONNECTION


def test_a_canary_that_the_server_refuses_to_delete_is_told(cmp: Cmp, host: Host, systemd: Systemd) -> None:
    """A publication carries its table, which has no replica identity any more."""
    cmp.conn.execute("set client_min_messages = error; create publication everything for all tables")
    cmp.conn.execute("insert into omnicdc.allowed_publication values ('everything')")
    cmp.conn.execute("alter table omnicdc.canary replica identity nothing")
    daemon, lost = is_ready_and_says(host, systemd, "replica identity")
    install = host.run("install")
    gone = daemon.wait_for("canary_ok")

    assert "`omnicdc install`" in lost["hint"]
    assert install.returncode == 0
    assert gone["was"] == lost["reason"]


def test_a_canary_whose_role_may_only_read_or_has_no_time_is_told(
    cmp: Cmp, host: Host, systemd: Systemd
) -> None:
    """The second connection has other settings than the first: the role's were altered in between."""
    cmp.conn.execute(
        """create or replace function omnicdc.release_canary() returns xid8 language plpgsql as
           $$ begin
             raise sqlstate '25006' using message = 'cannot execute INSERT in a read-only transaction';
           end $$"""
    )
    _, lost = is_ready_and_says(host, systemd, "read-only")

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
def test_the_remedy_follows_the_sqlstate_whatever_the_language(exc: psycopg.Error, hint: str) -> None:
    fault = unsent(exc)

    assert fault.reason.startswith(UNSENT)
    assert hint in fault.hint


def test_what_the_capture_itself_refuses_is_no_matter_of_sending() -> None:
    assert (
        unsent(pg.UndefinedTable('relation "omnicdc.canary" does not exist')).hint == "run `omnicdc install`"
    )

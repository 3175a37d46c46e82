"""Connecting ends in time. A refusal is recognized by its SQLSTATE, because messages are translated."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from psycopg import sql as pgsql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from structlog.testing import capture_logs
from support.evidence import every
from support.host import COMMAND, DEADLINE_S, process, until
from support.pooler import needs_pooler, running
from support.proxy import Proxy
from support.refusing_peer import Peer

from omnicdc import db
from omnicdc.clients import GenesisClient
from omnicdc.daemon.session import session
from omnicdc.db.conninfo import Target
from omnicdc.db.dial import within
from omnicdc.errors import ConfigError, DatabaseUnavailable, Interrupted, OmnicdcError
from omnicdc.model import Inputs
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host
    from support.pace import Pace

ONE_HOST_S = 10.0
"""The driver's time limit for each host. Connecting must end before a single such limit."""

GERMAN_MESSAGES = {
    "53300": "tut mir leid, schon zu viele Verbindungen",
    "57P03": "das Datenbanksystem startet",
    "08P01": "server login has been failing",
    "28P01": "Passwort-Authentifizierung für Benutzer »registry_host« fehlgeschlagen",
    "28000": "kein pg_hba.conf-Eintrag für Host",
    "3D000": "Datenbank »cms_db« existiert nicht",
    "55000": "Datenbank »cms_db« akzeptiert gegenwärtig keine Verbindungen",
}


@pytest.fixture
def silent_peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


@pytest.mark.parametrize("hosts", every(2, [10, 1]))
def test_connecting_to_a_silent_server_ends_with_its_budget(
    silent_peer: Peer, hosts: int, pace: Pace
) -> None:
    """Regression: `wait --timeout 3` took 9 s, and 99 s with ten hosts."""
    began = time.monotonic()

    with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"):
        db.connect(silent_peer.dsn(hosts), timeout_s=1.0)
    assert time.monotonic() - began < pace.allows(ONE_HOST_S)


@pytest.mark.parametrize("hosts", every(2, [10, 1]))
def test_connecting_to_a_silent_server_ends_with_a_stop(
    silent_peer: Peer, host: Host, hosts: int, pace: Pace
) -> None:
    """Regression: SIGTERM took as long. The stop is requested when the daemon has reported its wait."""
    stop, began = Stop(), time.monotonic()
    config = host.config(OMNICDC_DSN=silent_peer.dsn(hosts))
    daemon = session(
        config, Inputs(), stop, wait_for_server=True, wait_for_name=True, waiting=lambda _for: stop()
    )

    with pytest.raises(Interrupted, match="stopped while connecting"), daemon:
        pass
    assert time.monotonic() - began < pace.allows(ONE_HOST_S)


def test_the_installed_command_ends_in_time(silent_peer: Peer, host: Host, pace: Pace) -> None:
    """`wait` ends with its time-out, and `run` with SIGTERM."""
    env, began = {"OMNICDC_DSN": silent_peer.dsn(10)}, time.monotonic()
    waited = host.run("wait", "--timeout", "1", **env)
    daemon = host.starting(**env)
    daemon.stop()

    assert time.monotonic() - began < pace.allows(2 * ONE_HOST_S)
    assert waited.returncode == 2
    assert "no answer within 1 s" in waited.stderr


def test_an_interrupted_command_ends_with_exit_status_130(silent_peer: Peer, host: Host) -> None:
    """Regression: the exit status was 1, which means "no"."""
    with process([COMMAND, "status"], host.env | {"OMNICDC_DSN": silent_peer.dsn()}) as running:
        until(lambda: silent_peer.clients, "the command connects")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=DEADLINE_S)

    assert (running.returncode, out, err) == (130, "", "")


def test_a_reload_is_done_while_the_server_is_silent(silent_peer: Peer, host: Host, tmp_path: Path) -> None:
    """Regression: a configuration with another server was read only after the old server answered."""
    file, good = tmp_path / "omnicdc.yaml", host.env.pop("OMNICDC_DSN")
    file.write_text(f"dsn: {silent_peer.dsn()}\n")
    daemon = host.starting(OMNICDC_CONFIG=str(file))
    until(lambda: silent_peer.clients, "the daemon connects")
    file.write_text(f"dsn: {good}\n")
    daemon.process.send_signal(signal.SIGHUP)

    assert daemon.wait_for("connected")["sources"] == f"database from {file}:1, no password"
    daemon.wait_for("serving")


def test_a_client_answers_within_its_time_out(silent_peer: Peer, host: Host, pace: Pace) -> None:
    client, began = GenesisClient(config=host.config(OMNICDC_DSN=silent_peer.dsn(10))), time.monotonic()
    answer = client.wait(timeout=1.0)

    assert (answer["success"], answer["verdict"]) == (False, "unavailable")
    assert "did not answer in time" in str(answer["error"])
    assert "host=127.0.0.1" in str(answer["error"]), "the error names the server"
    assert time.monotonic() - began < pace.allows(ONE_HOST_S)


def test_a_name_server_that_does_not_answer_is_not_waited_for() -> None:
    """The lookup goes on in a thread. A connection that it opens later is closed."""
    answers, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def look_up() -> Late:
        answers.wait()
        return Late()

    with pytest.raises(DatabaseUnavailable, match=r"db\.example cannot be reached: no answer within 0\.1 s"):
        within(0.1, None, look_up, "db.example")
    answers.set()
    assert closed.wait(20)


def test_a_wait_for_an_answer_ends_with_the_budget(server: str) -> None:
    """The budget is for queries as well, not only for connecting."""
    began = time.monotonic()
    with db.connect(server, timeout_s=1.0) as conn, pytest.raises(DatabaseUnavailable, match="time-out"):
        conn.execute("select pg_sleep(60)")
    assert time.monotonic() - began < DEADLINE_S


@pytest.mark.parametrize("sqlstate", GERMAN_MESSAGES)
def test_a_refusal_is_recognized_by_its_sqlstate(sqlstate: str) -> None:
    """A transient fault is a DatabaseUnavailable. A fault that an operator must fix is a ConfigError.

    The server's language does not matter.
    """
    transient = sqlstate not in ("28P01", "28000", "3D000")
    fields = {"S": "SCHWERWIEGEND", "V": "FATAL", "C": sqlstate, "M": GERMAN_MESSAGES[sqlstate]}
    with Peer(fields) as peer, pytest.raises(OmnicdcError) as refused:
        db.connect(Target(dsn=peer.dsn(), source="OMNICDC_DSN"))

    assert isinstance(refused.value, DatabaseUnavailable if transient else ConfigError)
    assert refused.value.context["sqlstate"] == sqlstate
    assert GERMAN_MESSAGES[sqlstate] in refused.value.message
    if not transient:
        assert "database from OMNICDC_DSN, no password" in refused.value.hint


def test_a_role_at_its_connection_limit_is_reported_as_unavailable(cmp: Cmp) -> None:
    """A CONNECTION LIMIT may stay for long, but it must not end a daemon."""
    role = f"limited_{cmp.conn.info.backend_pid}"
    named = pgsql.Identifier(role)
    cmp.conn.execute(pgsql.SQL("create role {} login connection limit 0").format(named))
    try:
        with pytest.raises(DatabaseUnavailable, match="CONNECTION LIMIT") as refused:
            db.connect(make_conninfo(cmp.dsn, user=role))
    finally:
        cmp.conn.execute(pgsql.SQL("drop role {}").format(named))

    assert refused.value.context["sqlstate"] == "53300"


def test_a_missing_database_is_a_configuration_error(server: str) -> None:
    with pytest.raises(ConfigError, match=r'refused the connection: .*database "nowhere" does not exist'):
        db.connect(make_conninfo(server, dbname="nowhere"))


@needs_pooler
@pytest.mark.parametrize("known", [False, True])
def test_a_pooler_without_its_server_is_reported_as_unavailable(cmp: Cmp, *, known: bool) -> None:
    """Regression: it was a traceback with ProtocolViolation.

    A pooler that has reached the server before accepts the connection, and fails the first query.
    """
    info = conninfo_to_dict(cmp.dsn)
    user, dbname = str(info["user"]), info["dbname"]
    with Proxy(cmp.dsn) as proxy:
        port = str(conninfo_to_dict(proxy.dsn)["port"])
        with running(mode="session", size=1, host="127.0.0.1", port=port, user=user, patience_s=1) as address:
            if known:
                db.connect(f"{address} dbname={dbname} user={user}").close()
            proxy.close()

            with pytest.raises(DatabaseUnavailable, match="takes no connections now") as refused:
                db.connect(f"{address} dbname={dbname} user={user}")

    assert "behind a pooler" in refused.value.hint
    assert str(refused.value.context["sqlstate"])[:2] in ("08", "57")


def test_a_new_cause_is_logged_at_once(host: Host) -> None:
    """Regression: a new cause was logged after 70 s. Until then, the old cause was repeated."""
    stop = Stop()
    with Peer({"S": "FATAL", "C": "57P03", "M": "starting up"}) as peer, capture_logs() as logged:
        config = host.config(OMNICDC_DSN=peer.dsn())

        def waiting(_for: str) -> None:
            errors = [it["error"] for it in logged if it["event"] == "database_unavailable"]
            if len(errors) == 1:
                peer.fields = {"S": "FATAL", "C": "53300", "M": "too many"}
            if len(errors) == 2:
                stop()

        with (
            pytest.raises((Interrupted, DatabaseUnavailable)),
            session(config, Inputs(), stop, wait_for_server=True, wait_for_name=True, waiting=waiting),
        ):
            pass

    events = [it for it in logged if it["event"] == "database_unavailable"]
    assert len(events) == 2
    assert "starting up" in events[0]["error"]
    assert "too many" in events[1]["error"]
    assert all(it["hint"].startswith("retrying automatically; ") for it in events)


def test_the_daemon_reports_its_retry_and_a_command_asks_its_user_to_retry(cmp: Cmp, host: Host) -> None:
    """Regression: `status` and the client reported "retrying automatically", and ended."""
    with Peer({"S": "FATAL", "C": "57P03", "M": "starting up"}) as peer:
        command = host.run("status", OMNICDC_DSN=peer.dsn())
        rebuild = host.run("rebuild", "--timeout", "1", OMNICDC_DSN=peer.dsn())
        client = GenesisClient(config=host.config(OMNICDC_DSN=peer.dsn())).wait(timeout=0.1)
    with db.connect(cmp.dsn) as conn:
        cmp.conn.execute("select pg_terminate_backend(%s)", [conn.info.backend_pid])
        with pytest.raises(DatabaseUnavailable) as lost, db.translated("asking"):
            conn.execute("select")

    advice = "run it again; is the server itself up, behind a pooler?"
    assert (command.returncode, rebuild.returncode) == (2, 2)
    assert command.stderr.endswith(f"starting up - {advice}\n")
    assert rebuild.stderr.endswith(f"starting up - {advice}\n")
    assert client["hint"] == advice
    assert str(lost.value).endswith(" - run it again")
    assert lost.value.advice(retrying=True) == "retrying automatically"

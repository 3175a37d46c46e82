"""omnicdc never shows a password, however the password is given and whatever is wrong with it."""

from __future__ import annotations

import itertools
import os
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.security.passwords import MARKER, PASSWORD, mistakes, ways_to_give
from psycopg import sql as pgsql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.faulty_command import FAULTS, PROGRAM
from support.host import Host, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.security.traps import Traps
    from support.cmp import Cmp
    from support.evidence import Evidence, Scale
    from support.sessions import People


@pytest.fixture
def password_login(cmp: Cmp, people: People, traps: Traps) -> Iterator[dict[str, str]]:
    """A member of omnicdc_daemon that needs a password. Gives the server's address and the user."""
    del traps  # this fixture skips the test where the server is not the embedded one
    name = people.add("omnicdc_daemon")
    cmp.conn.execute(pgsql.SQL("alter role {} password {}").format(pgsql.Identifier(name), PASSWORD))
    at = {key: str(value) for key, value in conninfo_to_dict(cmp.dsn).items()}
    rules = Path(at["host"]) / "data/pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {name} scram-sha-256\n{before}")
    cmp.conn.execute("select pg_reload_conf()")
    until(lambda: refuses(make_conninfo(cmp.dsn, user=name)), "the rule is in force")
    yield at | {"user": name}
    rules.write_text(before)
    cmp.conn.execute("select pg_reload_conf()")


def refuses(dsn: str) -> bool:
    """Whether a connection without a password is refused."""
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return True
    return False


COMMANDS = [
    ["status"],
    ["run", "--once", "--log-level", "debug"],
    ["verify", "--all"],
    ["wait", "--timeout", "1"],
    ["install"],
    ["rebuild", "--dry-run"],
    ["accept", "--timeout", "1"],
    ["uninstall", "--yes"],
]


@pytest.mark.timeout(300)
def test_no_output_of_a_command_holds_the_password(
    host: Host, password_login: dict[str, str], scale: Scale, evidence: Evidence
) -> None:
    """The password is in no answer, log line at level debug, traceback or error message."""
    good, bad = ways_to_give(password_login, host, PASSWORD), mistakes(password_login, host)
    # The commands take turns. A campaign tries several commands each time, with Python's fault handler on.
    turns, stacks = itertools.cycle(COMMANDS), {"PYTHONFAULTHANDLER": "1"} if scale(0, 1) else {}
    tries = [
        (how, env, next(turns))
        for how, env in [*[*good.items()][:: scale(3, 1)], *[*bad.items()][:: scale(6, 1)]]
        for _ in range(scale(1, 4))
    ]
    with ThreadPoolExecutor(3) as pool:
        ended = list(
            pool.map(lambda it: host.run(*it[2], **it[1], OMNICDC_LOG_LEVEL="debug", **stacks), tries)
        )
    leaks = {
        (how, *command): done.stdout + done.stderr
        for (how, _, command), done in zip(tries, ended, strict=True)
        if MARKER in done.stdout + done.stderr or "Traceback" in done.stderr
    }
    refused = [
        (how, *command)
        for (how, _, command), done in zip(tries, ended, strict=True)
        if how in good and "authentication failed" in done.stderr
    ]

    assert leaks == {}
    assert refused == []
    evidence(
        "", f"a password with every special character, given in {len(good)} ways, and {len(bad)} mistakes "
            f"beside it, at level debug",
        times=len(tries), found="in no answer, log line, error or traceback",
    )  # fmt: skip


def test_a_running_daemon_shows_its_password_nowhere(
    cmp: Cmp, host: Host, password_login: dict[str, str], tmp_path: Path, evidence: Evidence
) -> None:
    """The password is not in `ps`, in the programs that the daemon starts, in the database or in a file.

    It is not in the daemon's output when it is aborted, either.
    """
    seen = tmp_path / "seen"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gh").write_text(f"#!/bin/sh\n(env; tr '\\0' ' ' </proc/$$/cmdline) >>{seen}\necho '[]'\n")
    (programs / "gh").chmod(0o755)
    faults = tmp_path / "faults"
    host.program = PROGRAM
    env = {
        **ways_to_give(password_login, host, PASSWORD)["a URI"],
        "PGPASSWORD": PASSWORD, "CMP_DB_PASSWORD": PASSWORD,
        "OMNICDC_GH": "yes", "OMNICDC_REFRESH_S": "200ms", "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONFAULTHANDLER": "1", FAULTS: str(faults), "OMNICDC_LOG_LEVEL": "debug",
    }  # fmt: skip
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    daemon = host.daemon(**env)
    until(seen.exists, "the daemon runs gh")
    process = Path(f"/proc/{daemon.process.pid}")
    shown = {
        "its command line": (process / "cmdline").read_text(),
        "the environment of gh": seen.read_text(),
        "its sessions": str(cmp.conn.execute("select * from pg_stat_activity").fetchall()),
        "omnicdc's tables": str([
            cmp.conn.execute(f"select * from omnicdc.{table}".encode()).fetchall()
            for table in ("consumer", "history", "source")
        ]),
        "status": host.run("status", **env).stdout,
    }  # fmt: skip
    readers = stat.S_IMODE((process / "environ").stat().st_mode)
    faults.write_text("scanned: EBADF\n")
    cmp.upsert("artemis")
    lost = daemon.wait_for("session_lost")
    faults.unlink()
    daemon.wait_for("recovered")
    status = daemon.stop(signal.SIGABRT)
    until(lambda: any("Fatal Python error" in line for line in daemon.noise), "the stacks are printed")
    files = {str(file.relative_to(host.root.parent)): file.read_text(errors="replace")
             for place in (host.root, host.state) for file in place.rglob("*") if file.is_file()}  # fmt: skip
    shown_in = {"its log": str(daemon.events), "its last output": "".join(daemon.noise), **shown, **files}

    assert [place for place, text in shown_in.items() if MARKER in text] == []
    assert "OMNICDC" not in shown["the environment of gh"]
    assert lost["exception"]
    assert (status, readers) == (-signal.SIGABRT, 0o400)
    evidence(
        "", "a daemon with a password: looked at through ps, its children, its sessions, tables and files; "
            "failed, and aborted",
        times=len(shown_in), found="shown nowhere; its environment is for its own user only",
    )  # fmt: skip


def test_a_password_on_the_command_line_is_refused(host: Host, evidence: Evidence) -> None:
    """`--dsn` with a password is refused, because all users can read a command's arguments while it runs."""
    given = [
        f"postgresql://u:{MARKER}@localhost/x", f"postgresql://u@localhost/x?password={MARKER}",
        f"host=x password={MARKER}", f"host=x sslpassword={MARKER}",
    ]  # fmt: skip
    ended = [host.run("status", "--dsn", dsn, OMNICDC_DSN="") for dsn in given]

    assert [done.returncode for done in ended] == [2] * len(given)
    assert all("command line" in done.stderr and "OMNICDC_PASSWORD_FILE" in done.stderr for done in ended)
    assert MARKER not in "".join(done.stdout + done.stderr for done in ended)
    evidence(
        "",
        "a password in --dsn",
        times=len(given),
        found="refused, with the ways that no other user can read",
    )

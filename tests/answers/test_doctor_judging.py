"""How the checks of `omnicdc doctor` judge what they have read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from omnicdc.answers.doctor import backlog, machine, registry_files, room, server, service
from omnicdc.answers.doctor.configuration import settings_seen
from omnicdc.answers.doctor.finding import Finding
from omnicdc.answers.doctor.rights import CLIENT, DAEMON, Right, needed
from omnicdc.answers.doctor.unit import Unit, unit_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def log(age: timedelta) -> dict[str, Any]:
    return {"changes": 5, "estimated": False, "oldest": NOW - age}


@pytest.mark.parametrize(
    ("age", "not_alive", "status", "remedy"),
    [
        (timedelta(days=7, hours=5), [], "ok", ""),
        (timedelta(days=9), [], "fail", "`systemctl status omnicdc`, `omnicdc status`"),
        (timedelta(days=9), ["a b"], "fail", "start that daemon, or `omnicdc consumer forget 'a b'`"),
    ],
)
def test_the_log_must_not_be_much_older_than_the_retention(
    age: timedelta, not_alive: list[str], status: str, remedy: str
) -> None:
    found = backlog.log_length(log(age), NOW, WEEK, not_alive)

    assert (found.status, found.remedy) == (status, remedy)


def keeper(kind: str, seconds: float | None) -> dict[str, Any]:
    since = None if seconds is None else NOW - timedelta(seconds=seconds)
    return {"kind": kind, "name": "4711", "role": "ann", "program": "psql", "state": "idle in transaction",
            "seconds": seconds, "since": since}  # fmt: skip


@pytest.mark.parametrize(
    ("dead", "keepers", "status", "remedy"),
    [
        (50_000, [], "ok", ""),
        (50_000, [keeper("session", 5)], "ok", ""),
        (50_000, [keeper("session", 5000)], "fail", "pg_terminate_backend(4711)"),
        (10, [keeper("session", 5000)], "warn", "pg_terminate_backend(4711)"),
        (10, [keeper("session", None)], "ok", ""),
        (50_000, [keeper("prepared", 5000)], "fail", "`rollback prepared '4711'`"),
        (50_000, [keeper("slot", None)], "fail", "pg_drop_replication_slot('4711')"),
        (50_000, [keeper("standby", None)], "fail", "hot_standby_feedback = off"),
    ],
)
def test_dead_rows_are_a_fault_if_something_old_keeps_them(
    dead: int, keepers: list[dict[str, Any]], status: str, remedy: str
) -> None:
    found = backlog.dead_rows({"live": 20, "dead": dead}, keepers, long_s=600)

    assert found.status == status
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("ahead_s", "uncertain_s", "status"),
    [
        (0.1, 0.2, "ok"),
        (5, 6, "ok"),
        (5, 0.1, "warn"),
        (-5, 0.1, "warn"),
        (-90, 0.1, "fail"),
        (90, 60, "warn"),
    ],
)
def test_a_clock_counts_as_wrong_only_beyond_the_uncertainty(
    ahead_s: float, uncertain_s: float, status: str
) -> None:
    found = machine.clock(timedelta(seconds=ahead_s), timedelta(seconds=uncertain_s))

    assert found.status == status
    assert f"{abs(ahead_s):.3f} s {'ahead of' if ahead_s > 0 else 'behind'}" in found.seen


@pytest.mark.parametrize(
    ("free", "inodes", "status"),
    [(500, 100, "ok"), (250, 100, "warn"), (150, 100, "fail"), (500, 2, "fail"), (500, None, "ok")],
)
def test_the_disk_must_have_room_for_a_new_version_of_each_registry(
    free: int, inodes: int | None, status: str
) -> None:
    assert room.room(Path("/"), free, inodes, [200, 100]).status == status


def test_each_limit_of_connections_is_named() -> None:
    room = {"server": 1, "database": 0, "role": None, "database_name": "cms_db"}
    found = [*server.room_findings(room, "host")]

    assert [it.status for it in found] == ["fail", "fail"]
    assert "max_connections" in found[0].remedy
    assert found[1].remedy == "`alter database cms_db connection limit -1`"


def test_settings_that_harm_the_log_or_a_scan_are_named() -> None:
    good: dict[str, Any] = {
        "autovacuum": True,
        "track_counts": True,
        "log_options": None,
        "statement_timeout_ms": 0,
    }
    each: list[dict[str, Any]] = [
        {"autovacuum": False}, {"track_counts": False}, {"log_options": ["autovacuum_enabled=false"]},
        {"statement_timeout_ms": 2000}, {"statement_timeout_ms": 300_000},
    ]  # fmt: skip

    assert [*server.parameter_findings(good, "host")] == []
    assert [[it.status for it in server.parameter_findings(good | one, "host")] for one in each] == [
        ["fail"], ["fail"], ["fail"], ["warn"], [],
    ]  # fmt: skip


SHOWN = {
    "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
    "FragmentPath": "/etc/systemd/system/omnicdc.service", "NeedDaemonReload": "no", "User": "omnicdc",
    "ReadWritePaths": "-/srv/a +/srv/b", "ProtectSystem": "strict", "Result": "success",
    "Environment": "PYTHONFAULTHANDLER=1 OMNICDC_CONFIG=/etc/omnicdc/omnicdc.yaml",
    "ExecStart": "{ path=/opt/omnicdc/bin/omnicdc ; argv[]=/opt/omnicdc/bin/omnicdc run ; }",
}  # fmt: skip


def test_the_unit_is_read_as_systemctl_shows_it() -> None:
    found = unit_of(SHOWN)

    assert (found.user, found.strict, found.writable) == ("omnicdc", True, ("/srv/a", "/srv/b"))
    assert found.environment["OMNICDC_CONFIG"] == "/etc/omnicdc/omnicdc.yaml"
    assert found.program == "/opt/omnicdc/bin/omnicdc"
    assert [*service.unit(found)] == []


@pytest.mark.parametrize(
    ("shown", "status", "remedy"),
    [
        ({"LoadState": "bad-setting"}, "fail", "`systemctl status omnicdc`"),
        ({"NeedDaemonReload": "yes"}, "fail", "`systemctl daemon-reload`"),
        ({"UnitFileState": "disabled"}, "warn", "`systemctl enable omnicdc`"),
        (
            {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"},
            "fail",
            "`systemctl start omnicdc`",
        ),
    ],
)
def test_what_is_wrong_with_the_unit_is_named(shown: dict[str, str], status: str, remedy: str) -> None:
    [found] = service.unit(unit_of(SHOWN | shown))

    assert found.status == status
    assert remedy in found.remedy


def test_a_unit_that_was_only_read_from_files_is_not_said_to_be_stopped() -> None:
    assert [*service.unit(dataclasses.replace(Unit("omnicdc.service"), user="omnicdc"))] == []


@pytest.mark.parametrize(
    ("holder", "serving", "status"),
    [(None, True, "ok"), (None, False, "ok"), (17, True, "ok"), (17, None, "ok"), (17, False, "fail")],
)
def test_the_lock_must_be_held_by_the_daemon(holder: int | None, serving: bool | None, status: str) -> None:
    found = registry_files.lock(holder, serving, this_pid_space=True)

    assert found.status == status
    assert ("`kill 17`" in found.remedy) == (status == "fail")


def test_the_rights_are_those_that_the_installation_grants() -> None:
    assert Right(DAEMON, "function", "prune", "execute") in needed(DAEMON)
    assert Right(CLIENT, "schema", "omnicdc", "usage") in needed(CLIENT)
    assert Right(CLIENT, "table", "consumer", "insert") not in needed(CLIENT)
    assert {right.role for right in needed(CLIENT)} == {CLIENT}


def test_settings_are_listed_by_the_place_that_sets_them() -> None:
    places = {"root": "/etc/o.yaml:1", "gh": "OMNICDC_GH", "dsn": "/etc/o.yaml:2", "poll_s": "--poll-s"}

    assert (
        settings_seen(places)
        == "/etc/o.yaml: root (line 1), dsn (line 2); gh (OMNICDC_GH), poll_s (--poll-s)"
    )


def test_a_fault_of_one_line_is_split_at_its_last_dash() -> None:
    assert Finding.of_text("x - y: broken - `fix it`") == Finding("fail", "x - y: broken", "`fix it`")
    assert Finding.of_text("broken").remedy == ""

"""What `omnicdc status` shows people: the layout as a pure function, then the command itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.host import COMMAND
from support.session import publish
from support.terminal import GREEN, RED, on_a_terminal

from omnicdc.answers.status import StatusFault
from omnicdc.cli.layout import laid_out
from omnicdc.cli.status.description import common_domain, description, state

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

AT = datetime(2026, 11, 27, 8, 4, 2, tzinfo=UTC)

CONSUMER: dict[str, Any] = {
    "name": "registry-1", "alive": True, "daemon": True, "host": "registry-1.example",
    "root": "/srv/registry", "version": "1.2", "generation": 1042, "published_at": AT, "seen_at": AT,
    "started_at": AT, "behind": 0,
    "lag_s": None, "snapshot_xmin": "8123", "heartbeat_age_s": 12.0, "silent_limit_s": 86400.0,
    "registries": {}, "held": {}, "unused": {}, "faults": [], "postponed": {}, "quarantined": {},
    "quarantined_counts": {},
    "last_error": None, "last_error_at": None, "blocked_by": [], "stages_ms": {"read": 1.8, "publish": 4.7},
    "inputs": "current", "inputs_waiting_for": [], "input_faults": [], "input_fault_count": 0,
    "input_notices": [], "input_notice_count": 0, "shadow_of": None,
}  # fmt: skip

FOUND: dict[str, Any] = {
    "healthy": True,
    "faults": [],
    "capture": {
        "fault": None,
        "remedy": None,
        "sources": {"projects": {"table": "public.projects", "watched": ["name", "status"]}},
    },
    "log": {"changes": 12_345, "estimated": True, "oldest": AT},
    "consumers": [CONSUMER],
    "database": "cms_db",
    "at": AT,
}

HELD = StatusFault(
    "held",
    "registry-1: PROJECT_REGISTRY_V1.yaml is held: it would lose 20 of its 20 entries at once - look at CMP; "
    "if it is right: `omnicdc accept`",
)


def lines(found: dict[str, Any], *faults: StatusFault, wide: bool = False) -> list[str]:
    return list(laid_out(description(found, faults, wide=wide), 80, colour=False))


def test_the_verdict_comes_first_then_a_row_for_each_consumer() -> None:
    late = CONSUMER | {"name": "registry-2.eu", "behind": 10_000, "lag_s": 7500.0, "alive": False}

    assert lines(FOUND | {"consumers": [CONSUMER, late]}) == [
        "cms_db, 2026-11-27T08:04:02Z",
        "healthy",
        "",
        "capture: watching public.projects",
        "log: about 12345 changes, the oldest of 2026-11-27T08:04:02Z",
        "",
        "consumer       state  generation  lag        changes  published",
        "registry-1     alive  1042        0.0 s      0        2026-11-27T08:04:02Z",
        "registry-2.eu  down   1042        2 h 5 min  10000+   2026-11-27T08:04:02Z",
    ]


def test_each_fault_has_its_remedy_below_it_and_many_are_counted() -> None:
    """Quarantined projects come last, as there may be thousands: they must not hide a fault of a host."""
    quarantined = [
        StatusFault("quarantine", f"registry-1: project {number} is held back from x.json: no name")
        for number in range(25)
    ]

    shown = lines(FOUND, *quarantined, HELD)

    assert shown[1] == "26 faults"
    start = shown.index("faults:")
    assert shown[start + 1 : start + 6] == [
        "  registry-1: PROJECT_REGISTRY_V1.yaml is held: it would lose 20 of its 20",
        "    entries at once",
        "    look at CMP; if it is right: `omnicdc accept`",
        "  registry-1: project 0 is held back from x.json: no name",
        "  registry-1: project 1 is held back from x.json: no name",
    ]
    assert shown[-1] == "  and 6 more: `omnicdc status --json`"


def test_what_is_no_fault_is_told_apart() -> None:
    noted = CONSUMER | {
        "unused": {"agents.json": {"reason": "CMP has no table agents", "hint": "run `omnicdc install`"}},
        "postponed": {"staff.csv": "1:2:"},
        "inputs": "looking",
        "inputs_waiting_for": ["GitHub"],
        "input_notices": ["overrides.yaml:3: matches no project"],
        "input_notice_count": 4,
    }

    shown = lines(FOUND | {"consumers": [noted]})

    assert shown[1] == "healthy"
    assert shown[shown.index("worth knowing, but no fault:") + 1 :] == [
        "  registry-1: agents.json is not published: CMP has no table agents",
        "    run `omnicdc install`",
        "  registry-1: staff.csv waits for a full scan or a check",
        "  registry-1: still looking at GitHub",
        "  registry-1: overrides.yaml:3: matches no project",
        "  registry-1: 3 more notices of the inputs: see the log",
    ]


def test_what_several_consumers_say_is_said_once() -> None:
    unused = {
        "unused": {"agents.json": {"reason": "CMP has no table agents", "hint": "run `omnicdc install`"}}
    }
    consumers = [CONSUMER | unused, CONSUMER | unused | {"name": "registry-2", "inputs": "looking"}]

    shown = lines(FOUND | {"consumers": consumers})

    assert shown[shown.index("worth knowing, but no fault:") + 1 :] == [
        "  registry-1, registry-2: agents.json is not published: CMP has no table agents",
        "    run `omnicdc install`",
        "  registry-2: still looking at its inputs",
    ]


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["registry-host-1.eu.example", "registry-host-2.eu.example"], ".eu.example"),
        (["registry-host-1.eu.example", "registry-host-2.us.example"], ".example"),
        (["registry-host-1.eu.example", "another"], ""),
        (["registry-host-of-europe"], ""),
        (["a.eu", "b.eu"], ""),
    ],
)
def test_the_domain_of_long_names_is_shown_once(names: list[str], domain: str) -> None:
    assert common_domain(names) == domain
    assert lines(_named(names), wide=True)[-1].startswith(names[-1])
    assert (f"(all names end in {domain})" in lines(_named(names))) == bool(domain)


def _named(names: list[str]) -> dict[str, Any]:
    return FOUND | {"consumers": [CONSUMER | {"name": name} for name in names]}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "alive"),
        ({"heartbeat_age_s": 500.0}, "silent"),
        ({"alive": False}, "down"),
        ({"alive": False, "daemon": False}, "run once"),
        ({"blocked_by": [4711]}, "blocked"),
    ],
)
def test_the_state_of_a_daemon_is_a_word_or_two(facts: dict[str, Any], expected: str) -> None:
    cell = state(CONSUMER | facts)

    assert (cell.text, cell.good) == (expected, expected in {"alive", "run once"})


def test_wide_shows_more_columns_and_folds_none() -> None:
    [head, row] = lines(FOUND, wide=True)[-2:]

    assert head.split()[-8:] == ["held", "quarantined", "seen", "xmin", "version", "host", "root", "stages"]
    assert row.endswith("8123  1.2      registry-1.example  /srv/registry  read 1.8, publish 4.7 ms")
    assert "  projects: public.projects (name, status)" in lines(FOUND, wide=True)


def test_the_command_shows_a_fault_in_red_and_nothing_wider_than_the_terminal(cmp: Cmp, host: Host) -> None:
    cmp.fill(20)
    publish(host)
    cmp.conn.execute("truncate projects")
    host.run("run", "--once")

    seen = on_a_terminal([COMMAND, "status"], host.env, columns=80)
    piped = host.run("status", "-o", "text", COLUMNS="60")
    answer = host.ask("status")

    assert (seen.status, piped.returncode) == (1, 1)
    assert "  host: PROJECT_REGISTRY_V1.yaml is held: it would lose 20 of its 20 entries at" in seen.text
    assert RED in seen.raw
    assert GREEN not in seen.raw.split("consumer")[0]
    assert max(map(len, seen.text.splitlines())) <= 80
    assert "\x1b" not in piped.stdout
    assert max(map(len, piped.stdout.splitlines())) <= 60
    assert answer["database"] == cmp.value("select current_database()")
    assert answer["consumers"][0]["snapshot_xmin"].isdigit()

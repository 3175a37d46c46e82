"""Faults of people's files are in `status` until they are fixed.

Misspelt keys are reported as notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs
from support.host import until
from support.session import opened

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.inputs.report import MAX_LISTED

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.session import Opened

ATLAS = "https://github.com/acme/atlas"
PROJECTS = "governance/registry/projects"


def write(host: Host, name: str, text: str) -> str:
    path = host.root / PROJECTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def read_status(cmp: Cmp) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the answer of `status`, and its part about the host."""
    with db.connect(cmp.dsn) as conn:
        found = status(conn)
    [consumer] = found["consumers"]
    return found, consumer


def reread(one: Opened) -> None:
    """Read people's files again and publish, as the daemon does every few seconds."""
    one.inputs.hand_over(one.state)
    one.publish()


def test_a_broken_file_is_a_fault_until_it_is_fixed_and_both_are_logged(cmp: Cmp, host: Host) -> None:
    """Regression: only the log reported the fault, and nothing reported its end."""
    cmp.upsert("atlas", github_url=ATLAS)
    with opened(host) as one, capture_logs() as logged:
        one.publish()
        path = write(host, "EXCLUSION_LIST_V1.yaml", "exclusions: [{repo: atlas")
        reread(one)
        broken, consumer = read_status(cmp)
        write(host, "EXCLUSION_LIST_V1.yaml", "exclusions: [{repo: atlas}]")
        reread(one)
        fixed, _ = read_status(cmp)

    [fault] = consumer["input_faults"]
    assert fault.startswith(f"{path}:1: not YAML")
    assert f"host: {fault}" in broken["faults"]
    assert not any(path in line for line in fixed["faults"])
    assert [(it["event"], it["fault"]) for it in logged if it["event"].startswith("input_fault")] == [
        ("input_fault", fault),
        ("input_fault_cleared", fault),
    ]


def test_a_file_that_is_broken_at_a_start_is_a_fault(cmp: Cmp, host: Host) -> None:
    write(host, "LOCAL_OVERRIDES_V1.yaml", "overrides:\n- notes: whose?\n")
    with opened(host) as one:
        one.publish()
        _, consumer = read_status(cmp)

    assert len(consumer["input_faults"]) == 1
    assert "LOCAL_OVERRIDES_V1.yaml:2: " in consumer["input_faults"][0]


def test_entries_without_effect_are_notices_until_they_are_fixed(cmp: Cmp, host: Host) -> None:
    """`status` stays healthy: an exclusion may be for a project that CMP does not have yet."""
    cmp.upsert("atlas", github_url=ATLAS)
    overrides = f"overrides:\n- github_url: {ATLAS}\n  note: n\n"
    exclusions = "exclusions:\n- repo: borea\n"
    first = write(host, "LOCAL_OVERRIDES_V1.yaml", overrides)
    second = write(host, "EXCLUSION_LIST_V1.yaml", exclusions)
    with opened(host) as one, capture_logs() as logged:
        one.publish()
        until(lambda: len(one.inputs.notices) == 2, "two notices")
        reread(one)
        found, consumer = read_status(cmp)
        cmp.upsert("borea", github_url="https://github.com/acme/borea")
        one.publish()
        _, later = read_status(cmp)
        write(host, "LOCAL_OVERRIDES_V1.yaml", overrides.replace("note:", "notes:"))
        reread(one)
        _, last = read_status(cmp)

    misspelt = f"{first}:3: unknown key note (did you mean notes?); it has no effect"
    assert not any(path in line for line in found["faults"] for path in (first, second))
    assert consumer["input_notices"] == [misspelt, f"{second}:2: matches no project in CMP; it has no effect"]
    assert later["input_notices"] == [misspelt]
    assert last["input_notices"] == []
    # Some may have been logged at the start, before anything is recorded here.
    assert {it["notice"] for it in logged if it["event"] == "input_notice"} <= {*consumer["input_notices"]}
    assert any(it["event"] == "input_notice" for it in logged)


def test_an_entry_for_a_project_that_came_after_the_last_full_scan_has_effect(cmp: Cmp, host: Host) -> None:
    """Regression: the projects of the last full scan counted, and none of those that came since."""
    cmp.upsert("atlas", github_url=ATLAS)
    with opened(host) as one:
        one.publish()
        cmp.upsert("borea", github_url="https://github.com/acme/borea")
        one.publish()
        write(host, "EXCLUSION_LIST_V1.yaml", "exclusions:\n- repo: borea\n- repo: gone\n")
        reread(one)
        until(lambda: one.inputs.notices, "a notice")

    assert [it.partition(":")[2] for it in one.inputs.notices] == [
        "3: matches no project in CMP; it has no effect"
    ]


def test_a_few_of_many_faults_are_listed_and_all_are_counted(cmp: Cmp, host: Host) -> None:
    lines = "".join(f"- repo: [{number}]\n- repo: none{number}\n" for number in range(30))
    write(host, "EXCLUSION_LIST_V1.yaml", f"exclusions:\n{lines}")
    with opened(host) as one:
        one.publish()
        until(lambda: len(one.inputs.notices) == 30, "thirty notices")
        reread(one)
        found, consumer = read_status(cmp)

    assert (len(consumer["input_faults"]), consumer["input_fault_count"]) == (MAX_LISTED, 30)
    assert (len(consumer["input_notices"]), consumer["input_notice_count"]) == (MAX_LISTED, 30)
    assert any("10 more faults of the inputs" in line for line in found["faults"])

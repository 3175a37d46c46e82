"""Commands after publications: what they are told, once a generation, and again after a failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.agents import declare
from support.host import CANONICAL, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

HOOK = 'cat >> {seen}; echo " $OMNICDC_GENERATION $OMNICDC_REGISTRIES ${{OMNICDC_DSN:-none}}" >> {seen}'


def told(seen: Path) -> list[tuple[dict[str, object], list[str]]]:
    """Return what the hook got each time: the JSON, and the words of the environment."""
    if not seen.exists():
        return []
    found = []
    # The last line may not have its end yet.
    for line in seen.read_text().split("\n")[:-1]:
        message, end = json.JSONDecoder().raw_decode(line)
        found.append((message, line[end:].split()))
    return found


def set_hook(host: Host, tmp_path: Path, script: str, **settings: str) -> None:
    lines = [f"on_publish: {json.dumps(['sh', '-c', script])}", *(f"{k}: {v}" for k, v in settings.items())]
    host.env |= declare(tmp_path, "\n".join(lines) + "\n")


def test_a_hook_is_told_once_a_generation_what_was_published(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    set_hook(host, tmp_path, HOOK.format(seen=seen), hook_interval_s="10ms")
    host.daemon()
    until(lambda: len(told(seen)) == 1, "the hook ran after the first publication")
    cmp.upsert("apollo")
    cmp.arrived()
    until(lambda: len(told(seen)) == 2, "the hook ran after the second publication")

    message, words = told(seen)[1]
    assert words == ["2", "canonical_projects_uuids.json:PROJECT_REGISTRY_V1.yaml", "none"]
    assert message["generation"] == 2
    assert {"name": "canonical_projects_uuids.json", "path": str(host.root / CANONICAL)} in message[
        "registries"
    ]  # type: ignore[operator]


def test_a_hook_that_fails_is_a_fault_without_secrets(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """Regression: everybody who may ask for the status read what the hook wrote, passwords included."""
    set_hook(host, tmp_path, "echo https://u:Kanari@h.invalid refused; exit 3")
    daemon = host.daemon()
    daemon.wait_for("hook_failed")
    cmp.upsert("apollo")
    cmp.arrived()
    until(lambda: "on_publish" in host.run("status").stdout, "status names it")

    shown = host.run("status", "-o", "wide").stdout
    assert "on_publish failed: sh: exit status 3: https://u:***@h.invalid refused\n" in shown
    assert "Kanari" not in shown


def test_changes_gather_during_the_interval(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    set_hook(host, tmp_path, HOOK.format(seen=seen), hook_interval_s="1h")
    daemon = host.daemon()
    until(lambda: len(told(seen)) == 1, "the hook ran after the first publication")
    for name in ("a", "b", "c"):
        cmp.upsert(name)
        cmp.arrived()
    before = len(told(seen))
    assert daemon.stop() == 0
    host.daemon()
    until(lambda: len(told(seen)) == 2, "the next daemon tells the hook what was gathered")

    assert before == 1
    assert [words[0] for _, words in told(seen)] == ["1", "4"]


def test_a_run_for_cron_tells_its_hooks_before_it_ends(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    set_hook(host, tmp_path, HOOK.format(seen=seen), hook_interval_s="1h")
    cmp.upsert("apollo")
    host.once()
    host.once()

    assert [words[0] for _, words in told(seen)] == ["1"]


def test_a_hook_that_fails_is_a_fault_and_is_run_again(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    """P5, P8: publications do not wait for it."""
    flag, seen = tmp_path / "flag", tmp_path / "seen"
    script = f"test -e {flag} || {{ echo not yet; exit 3; }}; {HOOK.format(seen=seen)}"
    set_hook(host, tmp_path, script, hook_interval_s="10ms")
    daemon = host.daemon(OMNICDC_POLL_S="0.1")
    cmp.upsert("apollo")
    cmp.arrived()
    daemon.wait_for("hook_failed", hook="on_publish")
    until(lambda: not host.ask("status")["healthy"], "status shows the fault")
    [fault] = host.ask("status")["faults"]
    flag.touch()
    daemon.wait_for("hook_recovered")
    until(lambda: host.ask("status")["healthy"], "the fault is gone")

    assert "on_publish failed: sh: exit status 3: not yet" in fault
    assert told(seen)[-1][1][0] == "2"


def test_after_a_start_a_hook_is_told_of_everything(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    set_hook(host, tmp_path, HOOK.format(seen=seen), hook_interval_s="1h")
    daemon = host.daemon()
    until(lambda: len(told(seen)) == 1, "the hook ran after the first publication")
    cmp.upsert("apollo")
    cmp.arrived()
    daemon.kill()
    host.daemon()
    until(lambda: len(told(seen)) == 2, "the hook ran after the restart")

    assert told(seen)[1][1][0] == "2"


def test_a_hook_that_hangs_is_ended(cmp: Cmp, host: Host, tmp_path: Path) -> None:
    set_hook(host, tmp_path, "sleep 1000", hook_timeout_s="200ms", hook_interval_s="10ms")
    daemon = host.daemon()
    failed = daemon.wait_for("hook_failed")
    cmp.upsert("apollo")
    cmp.arrived()

    assert failed["reason"] == "sh: not finished within 0.2 s"
    assert daemon.stop() == 0

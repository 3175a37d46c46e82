"""What the commands say while the guard holds every registry: what is held, why, and the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.host import CANONICAL, INVENTORY, PROJECT

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

WHY = "it would lose 40 of its 41 entries at once"
HINT = "look at CMP; if it is meant, run `omnicdc accept`"
NAMES = [path.rsplit("/", 1)[-1] for path in (CANONICAL, PROJECT, INVENTORY)]


def unfolded(host: Host, *arguments: str) -> str:
    """Return the text of an answer, with one space for each run of white space."""
    return " ".join(host.run(*arguments, "-o", "text").stdout.split())


def test_every_answer_names_what_is_held_and_the_command(cmp: Cmp, host: Host) -> None:
    atlas = cmp.upsert("atlas", github_url="https://github.com/acme/atlas")
    cmp.fill(40)
    host.daemon()
    cmp.conn.execute("delete from projects where name <> 'atlas'")
    cmp.conn.execute("update projects set status = 'frozen'")
    waited = cmp.wait()

    one, everything = host.ask("verify", atlas), host.ask("verify", "--all")
    text = unfolded(host, "verify", "--all")
    explained = host.ask("explain", "atlas")
    shown = unfolded(host, "explain", "atlas")
    logged = unfolded(host, "log", "-n", "1")
    host.run("accept")
    cmp.arrived()
    accepted = host.ask("explain", "atlas")

    assert waited.status == "held"
    assert all(name in waited.detail for name in NAMES)
    assert (waited.detail.count(WHY), waited.hint) == (1, HINT)
    stale = [it for it in one["details"].values() if it["status"] == "stale"]
    assert [(it["detail"], it["hint"]) for it in stale] == [
        (f"status: not as CMP has it; the registry is held: {WHY}", HINT)
    ] * 2
    assert all(it["detail"].endswith(WHY) and it["hint"] == HINT for it in everything["registries"].values())
    assert text.count(f"; the registry is held: {WHY} - {HINT}") == 3
    assert [it["held"] for it in explained["registries"]] == [{"reason": WHY, "hint": HINT}] * 3
    assert [it["hint"] for it in explained["registries"]] == [""] * 3
    assert shown.count(f" held, so the file keeps its last content: {WHY} - {HINT} ") == 3
    assert "omnicdc wait" not in shown + text
    assert "rewrote no file; not rewritten, because held: " in logged
    assert [it["held"] for it in accepted["registries"]] == [None] * 3

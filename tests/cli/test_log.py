"""`omnicdc log` on a terminal, on a pipe, and live."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from support.host import COMMAND, DEADLINE_S
from support.host import process as start
from support.sources import projects
from support.terminal import on_a_terminal

from omnicdc import db
from omnicdc.capture import install

if TYPE_CHECKING:
    import subprocess

    from support.cmp import Cmp
    from support.host import Host

REGISTRY = "canonical_projects_uuids.json"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lines(running: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """Read so many lines of JSON."""
    assert running.stdout
    return [json.loads(running.stdout.readline()) for _ in range(count)]


def test_it_tells_who_changed_what_and_when_it_was_published(cmp: Cmp, host: Host) -> None:
    with db.connect(cmp.dsn) as conn:
        install.install(conn, projects(), record_writers=True)
    host.daemon()
    apollo = cmp.upsert("apollo", status="active")
    cmp.arrived()
    with cmp.transaction() as (writer, token):
        writer.execute("set local application_name = 'genesis-api'")
        writer.execute(f"set local omnicdc.traceparent = '{TRACE}'".encode())
        cmp.upsert("artemis", conn=writer)
        writer.execute("update projects set status = 'frozen'")
    cmp.arrived(token)

    of_all = host.ask("log", "-n", "2")
    of_project = host.ask("log", "apollo")
    of_registry = host.ask("log", REGISTRY, "-n", "1")
    explained, text = host.ask("explain", "apollo"), host.run("explain", "apollo", "-o", "wide").stdout
    later = host.ask("log", "--since", "2100-01-01T00:00:00Z")
    shown = on_a_terminal(
        [COMMAND, "log"], host.env | {"PAGER": "sed s/^/paged:/", "NO_COLOR": "1"}, columns=80
    )
    unpaged = on_a_terminal([COMMAND, "log", "--no-pager"], host.env | {"PAGER": "false"}, columns=80)
    wrong = host.run("log", "nowhere")

    [newest, before] = of_all["transactions"]
    assert newest["token"] == token
    [by] = newest["writers"]
    assert (by["application_name"], by["traceparent"]) == ("genesis-api", TRACE)
    assert explained["changes"][0]["writer"] == by
    assert f"update of status, by {by['role']} with genesis-api" in text
    changes = {
        (row["op"], *(row["fields"] or ())): [it["name"] for it in row["keys"]] for row in newest["rows"]
    }
    assert changes == {("insert",): ["artemis"], ("update", "status"): ["apollo", "artemis"]}
    [published] = newest["published"]
    assert published["consumer"] == "host"
    assert published["generation"] == before["published"][0]["generation"] + 1
    assert REGISTRY in published["registries"]
    assert list(published["stages_ms"]) == ["wake", "read", "scan", "render", "publish"]
    assert of_all["more"] is (len(host.ask("log")["transactions"]) > 2)
    assert [row["keys"][0]["key"] for it in of_project["transactions"] for row in it["rows"]] == [apollo] * 2
    assert of_registry["generations"][0]["generation"] == published["generation"]
    assert later["transactions"] == []
    assert f"paged:transaction {token}  20" in shown.text
    assert max(map(len, shown.text.splitlines())) <= 80 + len("paged:")
    assert unpaged.line(f"transaction {token}")
    assert "  update of status: apollo, artemis\n" in unpaged.text
    assert f"  by {by['role']} with genesis-api\n" in unpaged.text
    assert wrong.returncode == 2
    assert "no project in CMP is named 'nowhere'; and no registry is (known: " in wrong.stderr


def test_live_it_gives_one_object_a_line_until_it_is_interrupted(cmp: Cmp, host: Host) -> None:
    host.daemon()
    apollo = cmp.upsert("apollo")
    cmp.arrived()
    with start([COMMAND, "log", "-f", "apollo"], host.env, cold=True) as running:
        [earlier] = lines(running, 1)
        cmp.upsert("artemis")  # of another project
        cmp.upsert("apollo", id=apollo, status="frozen")
        committed, published = lines(running, 2)
        running.send_signal(signal.SIGINT)
        status = running.wait(DEADLINE_S)
        assert running.stderr
        noise = running.stderr.read()

    assert (earlier["kind"], earlier["published"][0]["read"]) == ("transaction", True)
    assert (committed["kind"], committed["rows"][0]["fields"]) == ("transaction", ["status"])
    assert (published["kind"], published["tokens"]) == ("generation", [committed["token"]])
    assert (status, noise) == (130, "")


def test_live_it_ends_quietly_when_nobody_reads_any_more(cmp: Cmp, host: Host) -> None:
    cmp.upsert("apollo")
    with start([COMMAND, "log", "-f"], host.env, cold=True) as running:
        lines(running, 1)
        assert running.stdout
        running.stdout.close()
        status = running.wait(DEADLINE_S)
        assert running.stderr
        noise = running.stderr.read()

    assert (status, noise) == (0, "")

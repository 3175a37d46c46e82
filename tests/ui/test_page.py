"""The page `omnicdc ui`, as a program reads it: content, status codes, live states, lost database."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.host import DEADLINE_S, until
from support.sources import projects
from ui.estate import BIDI, HERE, LONG, SCRIPT, SERVICES, THERE, service
from ui.page import page

from omnicdc import db
from omnicdc.capture import install
from omnicdc.cli.demo.fixtures import upsert

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ui.estate import Estate
    from ui.page import Page

PROJECT = str(SERVICES[3]["id"])
REGISTRY = "PROJECT_REGISTRY_V1.yaml"
UNKNOWN = "00000000-0000-4000-8000-0000000fffff"


@pytest.fixture(scope="module")
def admin(served: Estate) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(served.served.admin_dsn, autocommit=True) as conn:
        yield conn


@contextmanager
def without_connections(served: Estate, *pages: Page) -> Iterator[None]:
    """Let CMP take no connections, and end those of these pages."""
    name = psycopg.conninfo.conninfo_to_dict(served.served.admin_dsn)["dbname"]
    with psycopg.connect(served.served.admin_dsn, dbname="postgres", autocommit=True) as other:
        other.execute(f'alter database "{name}" allow_connections false'.encode())
        try:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = any (%s)",
                [[each.name for each in pages]],
            )
            yield
        finally:
            other.execute(f'alter database "{name}" allow_connections true'.encode())


def connections(admin: psycopg.Connection[tuple[object, ...]], page: Page) -> int:
    query = "select count(*) from pg_stat_activity where application_name = %s"
    found = admin.execute(query, [page.name]).fetchone()
    assert found
    return int(str(found[0]))


def test_each_page_shows_what_its_name_says(shown: Page) -> None:
    overview, found = shown.get("/"), shown.get(f"/projects/{PROJECT}")
    registry, compared = shown.get(f"/registries/{REGISTRY}"), shown.get(f"/registries/{REGISTRY}/difference")
    declared, guard = shown.get("/registries/active.ndjson"), shown.get("/guard")
    named, keyed = shown.get("/projects?q=Atlas+Gateway"), shown.get("/projects?q=team-03")
    several = shown.get("/projects?q=TEAM 1")

    answers = (overview, found, registry, compared, declared, guard, several)
    assert [it.status_code for it in answers] == [200] * len(answers)
    assert all(name in overview.text for name in (HERE, THERE, REGISTRY, 'class="chart"', 'class="stages"'))
    assert "its name is NULL" in overview.text
    assert found.text.count(">verified<") == 5  # the project, and each registry
    assert "public.projects.status" in found.text
    assert "generation " in found.text
    assert all(text in registry.text for text in ("its name is NULL", "metadata_ -&gt;&gt; &#39;domain&#39;"))
    assert "Last change on this host" in registry.text
    assert "<code>omnicdc diff " in registry.text
    assert "equals CMP" in compared.text
    assert "declared at" in declared.text
    assert "nothing is held" in guard.text
    assert (named.status_code, keyed.headers["location"]) == (303, f"/projects/{PROJECT}")
    assert several.text.count('<li><a href="/projects/') == 10


def test_a_project_s_changes_name_who_wrote_them_if_that_is_recorded(shown: Page, served: Estate) -> None:
    path = f"/projects/{SERVICES[50]['id']}"
    before = shown.get(path).text
    with db.connect(served.served.admin_dsn) as conn:
        install.install(conn, projects(), record_writers=True)
        conn.execute("set application_name = '<genesis>'")
        upsert(conn, service(50, domain="of another team"))
        install.install(conn, projects(), record_writers=False)
    served.published()

    after = shown.get(path).text

    assert "with <bdi>" not in before
    assert "with <bdi>&lt;genesis&gt;</bdi>" in after


def test_what_it_cannot_show_is_a_page_with_the_right_status(shown: Page) -> None:
    answers = {
        "/nothing": 404, f"/projects/{UNKNOWN}": 404, "/projects/no-such-name": 404, "/login": 404,
        "/registries/nothing": 404, "/registries/nothing/difference": 404, "/static/nothing": 404,
        "/projects?q=no-such-name": 404,
    }  # fmt: skip

    assert {path: shown.get(path).status_code for path in answers} == answers
    assert shown.client.post("/").status_code == 405
    assert shown.client.request("DELETE", f"/projects/{PROJECT}").status_code == 405
    assert shown.get("/", Host="evil.example").status_code == 421
    assert shown.client.head("/").content == b""
    assert "neither CMP, the registries nor the log have it" in shown.get(f"/projects/{UNKNOWN}").text


def test_names_from_cmp_are_text_and_nothing_else(shown: Page, served: Estate) -> None:
    pages = [shown.get(f"/projects/{served.ids[name]}").text for name in (SCRIPT, BIDI, LONG)]
    search = shown.get("/projects", Referer="x").text + shown.get("/projects?q=<b>\u202e").text

    assert not any(
        "<script>document" in text or "\u202e" in text or "<b>" in text for text in [*pages, search]
    )
    assert "&lt;script&gt;document" in pages[0]
    assert "abc\\u202egnp.exe" in pages[1]
    assert max(len(text) for text in pages) < 60_000


def test_every_answer_confines_the_browser(shown: Page) -> None:
    for path in ("/", "/static/ui.css", "/nothing"):
        policy = shown.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    text = shown.get("/").text
    assert not any(part in text for part in (" style=", "<style", "onclick", "http://", "https://"))
    assert shown.get("/").headers["cache-control"] == "no-store"


def test_a_write_reaches_the_browsers_over_one_connection_and_without_viewers_there_is_none(
    served: Estate, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    with page(served.environ) as watched:
        with watched.events() as first, watched.events("strip") as second, watched.events() as third:
            before, line, _ = next(first), next(second), next(third)
            served.write(service(3, domain="moved"))
            after = next(state for state in first if state["mark"] != before["mark"])
            listening = connections(admin, watched)
        until(lambda: connections(admin, watched) == 0, "without viewers the page has left the database")

    assert before["live"] != after["live"]
    assert "live" not in line
    assert "healthy" not in line["strip"]  # a project is in quarantine
    assert listening == 1


def test_a_lost_database_is_said_with_its_time_and_is_found_again(shown: Page, served: Estate) -> None:
    with shown.events() as states:
        next(states)
        with without_connections(served, shown):
            lost = next(state for state in states if "no connection since" in state["strip"])
            refused = shown.get(f"/projects/{PROJECT}")
        again = next(state for state in states if "no connection since" not in state["strip"])

    assert "<time datetime=" in lost["strip"]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "takes no connections now" in refused.text
    assert "as of" in again["strip"]
    assert shown.get("/").status_code == 200


def test_without_javascript_a_lost_database_shows_the_last_reading_its_age_and_the_remedy(
    served: Estate,
) -> None:
    paths = ("/", "/guard", f"/registries/{REGISTRY}")
    asking = (f"/projects/{PROJECT}", "/projects?q=team", f"/registries/{REGISTRY}/difference")
    with page(served.environ) as read, page(served.environ) as blind:
        before = read.get("/")
        with without_connections(served, read, blind):
            shown = [read.get(path) for path in paths]
            failed = [read.get(path) for path in asking]
            unknown = [blind.get(path) for path in paths]
        after = [each.get(path) for each in (read, blind) for path in paths]

    at = re.findall(r'as of <time datetime="([^"]+)"', before.text)[0]
    assert [it.status_code for it in shown] == [200] * 3
    for answer in shown:
        text = " ".join(re.sub("<[^>]+>", "", answer.text).split())
        assert re.search(
            rf"CMP did not answer. This page shows what was read at {at}, [\d.]+ m?s before", text
        )
        assert "takes no connections now" in text
        assert "When it is fixed, reload this page." in text
        assert "no connection since" in text
        assert "as of" not in text
    assert "Lag then" in shown[0].text
    assert "No faults." not in shown[0].text
    assert f">{REGISTRY}</bdi>" in shown[0].text
    assert [it.status_code for it in failed] == [503] * 3
    assert all(f'overview</a> shows what was read at <time datetime="{at}">' in it.text for it in failed)
    assert [it.status_code for it in unknown] == [503] * 3
    assert all("takes no connections now" in it.text and "omnicdc doctor" in it.text for it in unknown)
    assert [it.status_code for it in after] == [200] * 6
    assert not any("did not answer" in it.text or "no connection" in it.text for it in after)


def test_it_shows_what_the_database_knows_where_no_registries_are(served: Estate) -> None:
    environ = {name: value for name, value in served.environ.items() if name != "OMNICDC_ROOT"}
    with page(environ) as elsewhere:
        found, registry = elsewhere.get(f"/projects/{PROJECT}"), elsewhere.get(f"/registries/{REGISTRY}")
        compared = elsewhere.get(f"/registries/{REGISTRY}/difference")

    assert "The registries are not on this host" in found.text
    assert "generation " in found.text
    assert "Compare with CMP now" not in registry.text
    assert compared.status_code == 404


def test_a_role_without_rights_is_a_page_with_the_grant(
    served: Estate, admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    admin.execute("create role without_rights login")
    try:
        dsn = psycopg.conninfo.make_conninfo(served.served.admin_dsn, user="without_rights")
        with page({**served.environ, "OMNICDC_DSN": dsn}) as refused:
            answer = refused.get("/")
    finally:
        admin.execute("drop role without_rights")

    assert answer.status_code == 500
    assert "permission denied for schema omnicdc" in answer.text
    assert "omnicdc_client" in answer.text


def test_sigterm_ends_it_while_browsers_are_connected(served: Estate) -> None:
    with page(served.environ) as stopped, stopped.events() as states:
        next(states)
        stopped.process.send_signal(signal.SIGTERM)
        assert list(states) is not None
        assert stopped.process.wait(DEADLINE_S) == 0


def test_the_guard_names_what_would_be_lost(shown: Page, served: Estate) -> None:
    """The last test of this file: it deletes projects."""
    served.lose()
    # The page may show for some seconds what it has read for a browser that has just left.
    until(lambda: "Team 10 Service" in shown.get("/guard").text, "the page shows what is held")
    guard, gone = shown.get("/guard").text, shown.get(f"/projects/{service(10)['id']}")

    assert guard.count(">Team 10 Service</bdi>") == 3
    assert guard.count(">team-10</bdi>") == 1  # the repository
    assert guard.count("Would be removed: 20") == 4
    assert "omnicdc accept" in guard
    assert (gone.status_code, gone.text.count("should not be in it")) == (200, 4)
    assert gone.text.count("<p>Held, so the file keeps its last content: it would lose 20 ") == 4
    assert "omnicdc wait" not in gone.text
    assert '<span class="badge bad">held</span>' in shown.get("/").text

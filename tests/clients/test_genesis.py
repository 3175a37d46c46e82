"""GenesisClient waits for exactly what was written. `success` is true only when the work is done."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

CANONICAL, PROJECT, INVENTORY = (
    "canonical_projects_uuids.json",
    "PROJECT_REGISTRY_V1.yaml",
    "repo_inventory.json",
)

SERVICE = """
from omnicdc.clients import GenesisClient

class ProjectService:
    def __init__(self):
        self.genesis_client = GenesisClient()

    def propagate(self, project_name):
        return self.genesis_client.propagate_project(project_name)

import json, sys
print(json.dumps([ProjectService().propagate(name) for name in ("apollo", None)]))
"""


@pytest.fixture
def client(host: Host, monkeypatch: pytest.MonkeyPatch) -> GenesisClient:
    """A client that reads all of its settings from the environment, as Genesis does."""
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)
    return GenesisClient(timeout=60)


def test_the_present_code_of_genesis_runs_unchanged(cmp: Cmp, host: Host) -> None:
    host.daemon()
    cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    done = subprocess.run(
        [sys.executable, "-c", SERVICE], env=host.env, capture_output=True, text=True, check=True
    )

    by_name, everything = __import__("json").loads(done.stdout)

    assert by_name["success"] is True
    assert by_name["dry_run"] is False
    assert by_name["project"] == "apollo"
    assert by_name["registries_updated"] == [CANONICAL, PROJECT, INVENTORY]
    assert everything["success"] is True
    assert everything["project"] is None


def test_importing_the_clients_does_not_import_pglast() -> None:
    """The clients never import pglast, which is GPL."""
    code = "import sys, omnicdc.clients; print([m for m in sys.modules if m.split('.')[0] == 'pglast'])"

    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_after_a_status_change_the_two_registries_that_show_it_are_named(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    host.daemon()
    cmp.upsert("apollo", id=project, status="retired", github_url="https://github.com/acme/apollo")

    assert client.propagate_project("apollo")["registries_updated"] == [CANONICAL, PROJECT]
    assert host.projects()[project]["status"] == "retired"


def test_a_batch_waits_for_all_projects(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    host.daemon()
    for name in ("apollo", "gemini"):
        cmp.upsert(name)

    answer = client.propagate_batch(["apollo", "gemini"])

    assert answer["success"] is True
    assert (answer["count"], answer["projects"]) == (2, ["apollo", "gemini"])
    assert {entry["name"] for entry in host.canonical().values()} == {"apollo", "gemini"}


def test_without_a_daemon_the_answer_is_no_consumer_in_time(cmp: Cmp, client: GenesisClient) -> None:
    cmp.upsert("apollo")
    started = time.monotonic()

    answer = client.propagate_project("apollo")

    assert answer["success"] is False
    assert answer["verdict"] == "no_consumer"
    assert "no omnicdc daemon is alive" in str(answer["error"])
    assert "omnicdc run" in answer["hint"]
    assert time.monotonic() - started < 60


def test_a_name_that_is_not_in_cmp_is_an_error(client: GenesisClient) -> None:
    answer = client.propagate_project("nobody")

    assert answer["success"] is False
    assert answer["registries_updated"] == []
    assert "'nobody'" in str(answer["error"])


def test_if_the_database_is_down_the_answer_shows_no_password(host: Host) -> None:
    answer = GenesisClient("postgresql://me:hunter2@127.0.0.1:1/x", root=str(host.root)).propagate_project(
        "apollo"
    )

    assert answer["success"] is False
    assert answer["verdict"] == "unavailable"
    assert "hunter2" not in str(answer)


@pytest.mark.parametrize("autocommit", [True, False])
def test_propagation_commits_and_waits_for_exactly_that_transaction(
    cmp: Cmp, host: Host, client: GenesisClient, *, autocommit: bool
) -> None:
    host.daemon()
    with psycopg.connect(cmp.dsn, autocommit=autocommit) as conn, client.propagation(conn) as propagation:
        project = cmp.upsert("apollo", conn=conn)

    assert propagation.result["verdict"] == "published"
    assert propagation.result["token"] == propagation.token
    assert (propagation.result["milliseconds"] or 0) > 0
    assert project in host.canonical()


def test_propagation_accepts_a_connection_and_a_session_of_sqlalchemy(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    """The client commits what the block wrote and waits for it. If the block raises, it rolls back."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(cmp.dsn))
    write = sqlalchemy.text("insert into projects (name) values (:name)")
    host.daemon()
    for name, opened in (("apollo", engine.connect()), ("gemini", orm.Session(engine))):
        with opened as conn:
            with client.propagation(conn) as propagation:
                conn.execute(write, {"name": name})
            with pytest.raises(sqlalchemy.exc.IntegrityError), client.propagation(conn) as rolled_back:
                conn.execute(write, [{"name": "given up"}, {"name": None}])

        assert (propagation.result["verdict"], propagation.result["token"]) == (
            "published",
            propagation.token,
        )
        assert not rolled_back.result
    engine.dispose()

    assert {entry["name"] for entry in host.canonical().values()} == {"apollo", "gemini"}


def test_propagation_of_a_block_that_raises_rolls_back_and_waits_for_nothing(
    cmp: Cmp, client: GenesisClient
) -> None:
    class OopsError(Exception):
        pass

    def write() -> Any:  # noqa: ANN401 - never returns
        with psycopg.connect(cmp.dsn) as conn, client.propagation(conn) as propagation:
            cmp.upsert("apollo", conn=conn)
            outcomes.append(propagation)
            raise OopsError

    outcomes: list[Any] = []
    with pytest.raises(OopsError):
        write()

    assert not outcomes[0].result
    assert cmp.log() == []


def test_a_transaction_that_changes_nothing_watched_has_nothing_to_do(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    cmp.upsert("apollo")
    host.daemon()
    with psycopg.connect(cmp.dsn) as conn, client.propagation(conn) as propagation:
        conn.execute("update projects set updated_at = clock_timestamp()")

    assert propagation.result["verdict"] == "nothing_to_do"
    assert propagation.result["success"] is True


def test_a_rebuild_repairs_what_the_capture_missed(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    host.daemon()
    cmp.conn.execute("alter table projects disable trigger all")
    project = cmp.upsert("apollo")
    cmp.conn.execute("alter table projects enable always trigger omnicdc_log_row")
    cmp.conn.execute("alter table projects enable always trigger omnicdc_log_update")
    cmp.conn.execute("alter table projects enable always trigger omnicdc_log_truncate")

    answer = client.rebuild_all_registries()

    assert answer["success"] is True
    assert answer["operation"] == "full_rebuild"
    assert answer["scanners_run"] == ["cmp_projects", "project", "git"]
    assert answer["results"].keys() == {"cmp_projects", "project", "git"}
    assert project in host.canonical()


def test_a_rebuild_without_a_daemon_has_run_no_scanner(client: GenesisClient) -> None:
    """P5: the answer claims nothing about any registry."""
    client._timeout_s = 0.0

    answer = client.rebuild_all_registries()

    assert (answer["success"], answer["verdict"]) == (False, "no_consumer")
    assert (answer["scanners_run"], answer["results"], answer["registries_updated"]) == ([], {}, [])


def test_verify_propagation_reports_each_registry(cmp: Cmp, host: Host, client: GenesisClient) -> None:
    arrived = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    private = cmp.upsert("gemini")
    host.once()
    late = cmp.upsert("mercury", github_url="https://github.com/acme/mercury")

    assert client.verify_propagation(arrived)["verified"] is True
    assert client.verify_propagation(arrived)["checks"] == dict.fromkeys(
        ["in_canonical_uuids", "in_project_registry", "in_repo_inventory"], True
    )
    assert client.verify_propagation(private)["verified"] is True
    assert client.verify_propagation(private)["not_expected"] == ["in_repo_inventory"]
    assert client.verify_propagation(late)["verified"] is False
    assert client.verify_propagation(late)["missing_from"] == [
        "in_canonical_uuids", "in_project_registry", "in_repo_inventory"
    ]  # fmt: skip


def test_a_dry_run_computes_the_difference_and_writes_nothing(
    cmp: Cmp, host: Host, client: GenesisClient
) -> None:
    project = cmp.upsert("apollo", github_url="https://github.com/acme/apollo")
    host.once()
    before = host.stats()
    cmp.upsert("apollo", id=project, status="retired", github_url="https://github.com/acme/apollo")

    answer = client.propagate_project("apollo", dry_run=True)

    assert answer["success"] is True
    assert answer["dry_run"] is True
    assert answer["registries_updated"] == [CANONICAL, PROJECT]
    assert client.propagate_project(None, dry_run=True)["registries_updated"] == [CANONICAL, PROJECT]
    assert client.rebuild_all_registries(dry_run=True)["registries_updated"] == [CANONICAL, PROJECT]
    assert host.stats() == before

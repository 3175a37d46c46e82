"""The previous release and this one work with each other's schema, and an upgrade loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.host import Host
from support.previous import RELEASE, PreviousHost, unpacked_wheel
from support.sources import projects

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.capture import install
from omnicdc.clients import GenesisClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp


# One process runs these tests, so that the wheel is built once.
pytestmark = pytest.mark.xdist_group("previous")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the previous release, unpacked."""
    return unpacked_wheel(tmp_path_factory.mktemp("previous"))


@pytest.fixture
def previous(bare: Cmp, unpacked: Path, tmp_path: Path) -> Iterator[PreviousHost]:
    """A registry host that runs the previous release, which has installed its schema."""
    host = PreviousHost(tmp_path / "previous", bare.dsn, unpacked)
    assert host.ask("install")["installed"]
    yield host
    host.close()


@pytest.fixture
def host(bare: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A registry host that runs this version."""
    host = Host(tmp_path / "new", bare.dsn)
    yield host
    host.close()


def install_this_version(cmp: Cmp, *, record_writers: bool | None = None) -> bool:
    with db.connect(cmp.dsn) as conn:
        return install.install(conn, projects(), record_writers=record_writers)


def test_the_previous_daemon_and_client_go_on_when_the_schema_is_upgraded(
    bare: Cmp, previous: PreviousHost
) -> None:
    """An upgrade begins with the schema. A daemon that runs meanwhile, and one that starts then, serve on."""
    running = previous.daemon()
    apollo = bare.upsert("apollo", github_url="https://github.com/acme/apollo")
    bare.arrived()
    before = bare.log()
    install_this_version(bare, record_writers=True)
    artemis = bare.upsert("artemis")
    bare.arrived()
    kept = bare.log()
    published_by_the_running_one = {*previous.canonical()}
    running.stop()
    previous.daemon()
    served_by = bare.consumer("previous")["version"]
    propagated, verified, rebuilt = previous.client(
        f"[client.propagate_project('apollo'), client.verify_propagation({apollo!r}), "
        "client.rebuild_all_registries()]"
    )

    assert [row for row in kept if row[1] != "rebuild"] == [*before, (artemis, "insert", None)]
    assert served_by == RELEASE
    assert published_by_the_running_one == {apollo, artemis}
    assert bare.value("select count(*) from omnicdc.change where writer is not null") == 1
    assert propagated["success"], propagated
    assert verified["verified"], verified
    assert rebuilt["success"], rebuilt


def test_this_version_works_with_the_previous_schema(bare: Cmp, previous: PreviousHost, host: Host) -> None:
    """Hosts and clients may be upgraded before the schema. The daemon says what is missing."""
    daemon = host.daemon()
    older = daemon.wait_for("schema_older")
    apollo = bare.upsert("apollo", github_url="https://github.com/acme/apollo")
    with GenesisClient(config=host.config(), timeout=60) as client:
        propagated = client.propagate_project("apollo")
        verified = client.verify_propagation(apollo)
        explained = client.explain("apollo")
        rebuilt = client.rebuild_all_registries()
    answer = host.ask("status")
    logged = host.ask("log", "apollo")

    assert (older["level"], older["revision"], older["hint"]) == ("warning", 1, "run `omnicdc install`")
    assert propagated["success"], propagated
    assert verified["verified"], verified
    assert explained["changes"][-1]["op"] == "insert"
    assert rebuilt["success"], rebuilt
    assert answer["healthy"], answer["faults"]
    assert [(it["rows"][0]["op"], it["writers"]) for it in logged["transactions"]][-1] == ("insert", [])
    assert previous.client("client.propagate_project('apollo')")["success"]


def test_an_older_install_over_a_newer_schema_loses_nothing(bare: Cmp, previous: PreviousHost) -> None:
    """It writes its own functions: writers are not recorded until this version installs again."""
    changed = install_this_version(bare)
    install_this_version(bare, record_writers=True)
    bare.upsert("apollo")
    before = bare.log()
    previous.ask("install")
    bare.upsert("artemis")
    with db.connect(bare.dsn) as conn:
        faults = [*_faults(conn)]
    install_this_version(bare)
    bare.upsert("athena")
    recorded = "select array_agg(writer is not null order by at) from omnicdc.change where op = 'insert'"

    assert not changed  # without writers, the triggers are what they were, to the byte
    assert bare.log()[: len(before)] == before
    assert [fault for fault in faults if "older omnicdc was installed" in fault]
    assert bare.value(recorded) == [True, False, True]
    with db.connect(bare.dsn) as conn:
        assert not [fault for fault in _faults(conn) if "writers" in fault]


def _faults(conn: db.Connection) -> list[str]:
    return [str(fault) for fault in status(conn)["faults"]]

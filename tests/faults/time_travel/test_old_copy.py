"""An older copy of the data directory is put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.time_travel.serving import PROJECTS, assert_serving, replace_server, served, write, write_to_lose
from support.host import until

from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from faults.time_travel.clusters import Sandbox
    from support.evidence import Evidence, Scale

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("time_travel")]  # of one prepared cluster


@pytest.mark.campaign
def test_a_copy_of_the_data_directory_is_put_back(sandbox: Sandbox, scale: Scale, evidence: Evidence) -> None:
    """P5 P8: the cluster and its timeline are the same, but older. It gives out the same ids once more."""
    times = scale(1, 6)
    for number in range(times):
        running = number % 2 == 0
        cluster = sandbox.cluster()
        cluster.start()
        host = sandbox.host(cluster.dsn())
        with cluster.cmp() as cmp:
            daemon = served(cmp, host)
            kept = write(cmp, "kept")
            cmp.arrived(kept)
        cluster.stop()
        old = sandbox.cluster(cluster)
        cluster.start()
        with cluster.cmp() as cmp:
            until(lambda: cmp.wait().arrived, "published")
            lost = write_to_lose(cmp)
        if not running:
            daemon.stop()
        daemon = replace_server(cluster, old, host, daemon if running else None)
        daemon.wait_for("database_restored")
        with old.cmp() as cmp:
            with pytest.raises(ConfigError, match="not a transaction of this cluster"):
                cmp.wait(lost)
            assert cmp.wait(kept).status == "published"
        assert_serving(old, host, daemon)
        host.close()
        old.stop()

    evidence(
        "P1 P5 P8",
        "a copy of the data directory put back (same system identifier, same timeline), with transaction "
        "ids that are given out a second "
        "time; the daemon runs or is down",
        times=times,
        found="reported; a token of the lost time is refused while its id is not given out again; files "
        "equal to a full rebuild",
    )


@pytest.mark.campaign
def test_the_guard_holds_a_restore_that_removes_most_entries(sandbox: Sandbox, evidence: Evidence) -> None:
    """P8: a restore to the time before a bulk import is reported and held, until `omnicdc accept`."""
    cluster = sandbox.cluster()
    cluster.start()
    host = sandbox.host(cluster.dsn())
    with cluster.cmp() as cmp:
        daemon = served(cmp, host)
        held = len(host.canonical())
    cluster.stop()
    old = sandbox.cluster(cluster)
    cluster.start()
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().arrived, "published")
        cmp.fill(PROJECTS * 3)
        cmp.arrived()
        many = len(host.canonical())
    replace_server(cluster, old, host, daemon)
    with old.cmp() as cmp:
        verdict = cmp.wait()
        stayed = len(host.canonical())
        host.run("accept")
        until(lambda: cmp.wait().arrived, "accepted")

    assert verdict.status == "held"
    assert (stayed, len(host.canonical())) == (many, held)
    assert_serving(old, host, daemon)
    evidence(
        "P8",
        "an older copy put back that has a quarter of the projects",
        times=1,
        found="held with its numbers, `wait` says so; `omnicdc accept` lets it through",
    )

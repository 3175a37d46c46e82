"""A CMP that a daemon serves: writes, writes that will be lost, and the check that serving goes on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from support.host import Host, until
from support.rebuild import assert_as_rebuilt

if TYPE_CHECKING:
    from faults.time_travel.clusters import Cluster
    from support.cmp import Cmp
    from support.host import Daemon


PROJECTS = 30
"""How many projects the prepared cluster holds."""
LOST = "lost-in-time"
"""A status that the files show, and that an older state of the database never held."""


def write(cmp: Cmp, name: str, **columns: Any) -> str:  # noqa: ANN401 - columns of CMP
    """Insert a project; returns the token."""
    with cmp.transaction() as (conn, token):
        cmp.upsert(name, conn=conn, github_url=f"https://github.com/acme/{name}", **columns)
    return token


def write_to_lose(cmp: Cmp) -> str:
    """Change every project, wait until that is published, and return the token.

    The change will be lost when the database goes back. Many ids are used up before it, so that the writes
    after the restore do not soon get the id of the lost transaction.
    """
    use_up_ids(cmp, 200)
    with cmp.transaction() as (conn, token):
        conn.execute("update projects set status = %s", [LOST])
        cmp.upsert(LOST, conn=conn, status=LOST, github_url=f"https://github.com/acme/{LOST}")
    cmp.arrived(token)
    return token


def use_up_ids(cmp: Cmp, ids: int) -> None:
    """Use up transaction ids."""
    for _ in range(ids):
        cmp.conn.execute("select pg_current_xact_id()")


def shows(host: Host, text: str = LOST) -> bool:
    """Whether any registry contains a text."""
    return any(text.encode() in data for data in host.content().values())


def served(cmp: Cmp, host: Host, **env: str) -> Daemon:
    """Start a daemon, and wait until it has published everything and one more change."""
    daemon = host.daemon(**env)
    cmp.arrived(write(cmp, "before"))
    return daemon


def assert_serving(cluster: Cluster, host: Host, daemon: Daemon) -> None:
    """Check that the files are right, writes arrive, unread changes are not pruned, and read changes are."""
    with cluster.cmp() as cmp:
        until(lambda: cmp.wait().status == "published", "published again")
        assert not shows(host), [name for name, data in host.content().items() if LOST.encode() in data]
        assert_as_rebuilt(cmp, host)
        for name in ("it goes on", "after pruning"):
            token = write(cmp, name)
            verdict = cmp.wait(token)
            assert verdict.status == "published", verdict
            assert name in str(host.canonical()), f"{name} is not in the file"
            until(partial(pruned, cmp), f"every change that was read is pruned: {cmp.log()}")
        assert_as_rebuilt(cmp, host)
    assert daemon.process.poll() is None, "the daemon has ended"


def pruned(cmp: Cmp) -> bool:
    """Prune the changes that every consumer has read, of any age. Returns whether the log is empty then."""
    cmp.conn.execute("select changes from omnicdc.prune('0 s', '1 day')")
    return not cmp.log()


def replace_server(old: Cluster, new: Cluster, host: Host, daemon: Daemon | None) -> Daemon:
    """Stop one server, and start the other in its place.

    `daemon` runs meanwhile. If it is None, a daemon is started afterwards.
    """
    seen = len(daemon.events) if daemon else 0
    old.stop()
    new.start()
    if daemon is None:
        return host.daemon()
    daemon.wait_for("recovered", after=seen)
    return daemon

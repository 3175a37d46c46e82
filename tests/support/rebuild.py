"""Compares the files of a registry host with a full rebuild, after a barrier.

A comparison is only correct when every change is published. So every test that compares files calls this
module; tests/project/test_claims.py checks it.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.daemon.once import run_to_the_end
from omnicdc.stop import Stop
from support.host import Host, until

if TYPE_CHECKING:
    from support.cmp import Cmp

SETTLED = ("published", "nothing_to_do", "quarantined")
"""Verdicts after which the files do not change any more."""


def rebuilt(cmp: Cmp, **env: str) -> dict[str, bytes]:
    """Return what a new host publishes now, in the form of `Host.content`.

    Its consumer is deleted from CMP.
    """
    with tempfile.TemporaryDirectory(prefix="omnicdc-fresh-") as directory:
        fresh = Host(Path(directory) / "fresh", cmp.dsn)
        run_to_the_end(fresh.config(**env), Stop(), lambda _point: None)
        # On a new connection, as the server may have been restarted since `cmp` was opened.
        with closing(cmp.connect()) as conn:
            conn.execute("delete from omnicdc.consumer where name = 'fresh'")
        return fresh.content()


def assert_as_rebuilt(cmp: Cmp, *hosts: Host, **env: str) -> None:
    """Assert that every file of these hosts is what a full rebuild writes, byte for byte.

    The times of generation may differ. First wait until the running daemons of the hosts have published
    everything that was committed before this call.
    """
    barrier(cmp, *hosts)
    wanted = rebuilt(cmp, **env)
    for host in hosts:
        found = host.content()
        assert found.keys() == wanted.keys(), f"{host.root} holds {[*found]}"
        for name, content in found.items():
            assert content == wanted[name], f"{host.root / name} is not what a full rebuild writes"


def served(cmp: Cmp) -> bool:
    """Return whether any daemon serves."""
    with closing(cmp.connect()) as conn:
        row = conn.execute("select bool_or(omnicdc.is_alive(name)) from omnicdc.consumer").fetchone()
    return bool(row and row[0])


def barrier(cmp: Cmp, *hosts: Host) -> None:
    """Wait until every serving daemon has published what is committed.

    For hosts without a daemon, do not wait.
    """
    if any(host.serves() for host in hosts):
        until(lambda: served(cmp), "a daemon serves")
        verdict = cmp.wait()
        assert verdict.status in SETTLED, verdict

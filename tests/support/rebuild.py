"""Compares what a registry host serves with a full rebuild, and waits for a barrier first.

A comparison of files is only fair when nothing is on its way to them: every test that makes one calls this
module, and tests/project/test_claims.py sees to it.
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
    """Return what a host that starts from nothing publishes now, as `Host.content` does.

    It leaves no trace in CMP.
    """
    with tempfile.TemporaryDirectory(prefix="omnicdc-fresh-") as directory:
        fresh = Host(Path(directory) / "fresh", cmp.dsn)
        run_to_the_end(fresh.config(**env), Stop(), lambda _point: None)
        # On a connection of its own, as the server may have been restarted since `cmp` was opened.
        with closing(cmp.connect()) as conn:
            conn.execute("delete from omnicdc.consumer where name = 'fresh'")
        return fresh.content()


def assert_as_rebuilt(cmp: Cmp, *hosts: Host, **env: str) -> None:
    """Claim that every file of these hosts is what a full rebuild writes, byte for byte.

    The times of generation may differ. Waits until the hosts' daemons, where they run, have published
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
    """Whether any daemon serves."""
    with closing(cmp.connect()) as conn:
        row = conn.execute("select bool_or(omnicdc.is_alive(name)) from omnicdc.consumer").fetchone()
    return bool(row and row[0])


def barrier(cmp: Cmp, *hosts: Host) -> None:
    """Wait until every daemon that serves has published what is committed.

    Of hosts without a daemon, nothing is awaited.
    """
    if any(host.serves() for host in hosts):
        until(lambda: served(cmp), "a daemon serves")
        verdict = cmp.wait()
        assert verdict.status in SETTLED, verdict

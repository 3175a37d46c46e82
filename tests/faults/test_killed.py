"""Faults 1: the daemon and the server are killed while eight connections write and two readers read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.faulty import FAULTS, PROGRAM

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Evidence
    from support.host import Host


def test_first(cmp: Cmp, host: Host, tmp_path: Path, evidence: Evidence) -> None:
    """P8: a first slice."""
    faults = tmp_path / "faults"
    host.program = PROGRAM
    host.env[FAULTS] = str(faults)
    daemon = host.daemon()
    faults.write_text("rename git: kill\n")
    project = cmp.upsert("one", github_url="https://github.com/acme/one")
    status = daemon.process.wait(10)
    faults.unlink()
    host.daemon()
    cmp.arrived()

    assert status == -9
    assert project in host.canonical()
    evidence("P3 P8", "kill -9 at a named point", times=1, found="the next start published it")

"""Kept generations are on the disk of the registries, and the disk gets full."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from faults.disk.mounts import filled, mount_tmpfs
from support.host import Host, until

from omnicdc.errors import OmnicdcError
from omnicdc.files.kept.reading import KeptGenerations

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from support.cmp import Cmp


def kept(host: Host) -> list[int]:
    try:
        return [name.generation for name in KeptGenerations(host.state).names]
    except OmnicdcError:
        return []


def has_more(host: Host, before: list[int]) -> bool:
    return kept(host)[-1:] != before


def test_kept_generations_give_way_to_a_publication(cmp: Cmp, tmp_path: Path, cleanup: ExitStack) -> None:
    """P5, P6: with them the new files do not fit. Then they are dropped, and no user has to act."""
    host = Host(mount_tmpfs(cleanup, tmp_path / "disk", "nr_inodes=2000") / "host", cmp.dsn)
    cleanup.callback(host.close)
    host.env["OMNICDC_POLL_S"] = "0.05"
    cmp.fill(60)
    daemon = host.daemon()
    for status in ("one", "two", "three"):
        before = kept(host)[-1:]
        cmp.conn.execute("update projects set status = %s", [status])
        cmp.arrived()
        until(partial(has_more, host, before), "it is kept")
    many = kept(host)
    with filled(host.root.parent.parent):
        cmp.conn.execute("update projects set status = 'four'")
        until(lambda: cmp.wait(timeout_s=1).arrived, "published without any help")
        few = kept(host)
    daemon.wait_for("held")

    assert len(many) >= 3
    assert len(few) < len(many)
    assert {entry["status"] for entry in host.projects().values()} == {"four"}

"""Kept generations are shown, compared and restored by the installed command, without a database."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, until

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

URL = "https://github.com/acme/"


def test_slice(cmp: Cmp, host: Host) -> None:
    cmp.fill(20)
    daemon = host.daemon()
    first = {name: host.raw(name) for name in REGISTRIES}
    cmp.upsert("rocket", github_url=URL + "rocket")
    cmp.arrived()
    until(lambda: len(list((host.state / "generations/records").glob("*.json"))) == 2, "kept")
    assert daemon.stop() == 0
    for args in (
        ["show"],
        ["show", "-o", "text"],
        ["diff", "@~1", "@"],
        ["diff", "@~1", "@", "--stat"],
        ["diff", "@"],
        ["diff", "@~1", "--name-only"],
        ["diff", "@~1", "@", "--json"],
        ["restore", "@~1", "--to", str(host.root.parent / "x"), "-o", "text"],
        ["restore", "@~1", "--to", str(host.root)],
        ["show", "77"],
        ["show", "@~5"],
        ["show", "x"],
        ["show", "@:x"],
    ):
        done = host.run(*args, OMNICDC_DSN="host=127.0.0.1 port=1")
        print("$ omnicdc", *args, "->", done.returncode)
        print(done.stdout[:3000], done.stderr)
    os.system(f"ls -laR {host.state}/generations | head -40")
    assert {name: (host.root.parent / "x" / name).read_bytes() for name in REGISTRIES} == first

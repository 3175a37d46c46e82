"""Attributes that a registry or the manifest loses when it is replaced are reported once.

They are not reported for each generation.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs
from support.host import PROJECT

from omnicdc.daemon.once import run_to_the_end
from omnicdc.files.manifest import MANIFEST
from omnicdc.stop import Stop

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host

FOREIGN = "security.omnicdc"


def test_attributes_that_cannot_be_kept_are_reported_once(cmp: Cmp, host: Host) -> None:
    cmp.fill(3)
    _publish(host)
    try:
        for name in (PROJECT, str(MANIFEST)):
            os.setxattr(host.root / name, FOREIGN, b"x")
    except OSError as exc:
        pytest.skip(f"{FOREIGN} cannot be set here: {exc.strerror}")

    with capture_logs() as events:
        for number in range(3):
            cmp.conn.execute("update projects set status = %s", [f"status {number}"])
            _publish(host)

    reported = [(it["registry"], it["attributes"]) for it in events if it["event"] == "attributes_not_kept"]
    assert reported == [(PROJECT.rpartition("/")[2], [FOREIGN]), (MANIFEST.name, [FOREIGN])]


def _publish(host: Host) -> None:
    run_to_the_end(host.config(), Stop(), lambda _point: None)

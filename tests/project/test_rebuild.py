"""`assert_as_rebuilt`, which many tests of files use.

It waits for changes that are not published yet, and names a wrong file.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from support.host import CANONICAL
from support.rebuild import assert_as_rebuilt, rebuilt
from support.session import publish

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host


def test_the_comparison_waits_for_changes_that_are_not_published_yet(cmp: Cmp, host: Host) -> None:
    """Regression: a comparison failed as the last writes were not published yet."""
    daemon = host.daemon()
    cmp.arrived()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("on its way")
    behind = host.content() != rebuilt(cmp)
    wakes = threading.Timer(0.3, daemon.process.send_signal, [signal.SIGCONT])
    wakes.start()

    assert_as_rebuilt(cmp, host)
    wakes.join()
    assert behind


def test_the_comparison_names_a_wrong_file(cmp: Cmp, host: Host) -> None:
    """On a host without a daemon, the comparison does not wait."""
    cmp.upsert("atlas")
    publish(host)
    assert_as_rebuilt(cmp, host)
    with (host.root / CANONICAL).open("a") as file:
        file.write(" ")

    with pytest.raises(
        AssertionError, match=r"canonical_projects_uuids\.json is not what a full rebuild writes"
    ):
        assert_as_rebuilt(cmp, host)

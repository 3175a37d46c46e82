"""The comparison that the tests of files stand on.

It waits for what is on its way, and names the file that is wrong.
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


def test_what_is_committed_and_not_published_yet_is_waited_for(cmp: Cmp, host: Host) -> None:
    """It was not: a comparison failed while the last writes were still on their way."""
    daemon = host.daemon()
    cmp.arrived()
    daemon.process.send_signal(signal.SIGSTOP)
    cmp.upsert("on its way")
    behind = host.content() != rebuilt(cmp)
    going_on = threading.Timer(0.3, daemon.process.send_signal, [signal.SIGCONT])
    going_on.start()

    assert_as_rebuilt(cmp, host)
    going_on.join()
    assert behind


def test_a_file_that_is_wrong_is_named(cmp: Cmp, host: Host) -> None:
    """Of a host without a daemon nothing is waited for."""
    cmp.upsert("atlas")
    publish(host)
    assert_as_rebuilt(cmp, host)
    with (host.root / CANONICAL).open("a") as file:
        file.write(" ")

    with pytest.raises(
        AssertionError, match=r"canonical_projects_uuids\.json is not what a full rebuild writes"
    ):
        assert_as_rebuilt(cmp, host)

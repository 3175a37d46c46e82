"""Stops a daemon between two transactions.

A daemon that stops within a transaction holds locks; other tests are for that case.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from support.host import until

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Daemon

IDLE = """
select not exists (select from pg_stat_activity a join pg_locks l using (pid)
                    where l.locktype = 'advisory' and l.classid = 1869442666 and a.state <> 'idle')
"""


def freeze(daemon: Daemon, cmp: Cmp) -> None:
    """Stop the daemon with SIGSTOP, but not within a transaction, whose locks would block other sessions."""

    def frozen() -> bool:
        daemon.process.send_signal(signal.SIGSTOP)
        # The server still executes what the daemon had sent, so look several times.
        if all(cmp.value(IDLE) for _ in range(20)):
            return True
        daemon.process.send_signal(signal.SIGCONT)
        return False

    until(frozen, "the daemon is between two transactions")

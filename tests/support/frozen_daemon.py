"""A daemon that hangs between two transactions.

One that hangs in the middle of one holds locks, which is another test.
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
    """Have the daemon hang, but not in the middle of a transaction, whose locks would keep others waiting."""

    def frozen() -> bool:
        daemon.process.send_signal(signal.SIGSTOP)
        # What it had sent is worked on all the same.
        if all(cmp.value(IDLE) for _ in range(20)):
            return True
        daemon.process.send_signal(signal.SIGCONT)
        return False

    until(frozen, "the daemon is between two transactions")

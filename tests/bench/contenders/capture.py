"""Only the capture of omnicdc, with a consumer that records arrivals and writes no files, like the others.

It reads, parks, and pauses after a large batch, as the daemon does.
"""

from __future__ import annotations

import time

from bench.contenders.recorder import Recorder
from omnicdc import db
from omnicdc.capture.doorbell import Doorbell, Wakeup
from omnicdc.capture.reader import reading
from omnicdc.daemon.loop import coalesce_delay_s

FOR_EVER_S = 3600.0


class Always:
    """A stop flag that is never set. This consumer is killed at the end."""

    def going_on(self) -> bool:
        return True


def main() -> None:
    recorder = Recorder()
    with db.connect(recorder.dsn) as conn:
        doorbell = Doorbell(conn)
        last, parked, streak = db.fetch_one(conn, "snapshot")["snapshot"], False, 0
        while True:
            with reading(conn, last, parked=parked) as now:
                for change in now.changes:
                    for project in change.projects or ():
                        recorder.arrived(project)
            last = now.snapshot
            if now.changes:
                doorbell.reset_nap()
                time.sleep(coalesce_delay_s(sum(change.rows for change in now.changes), streak))
            wakeup, parked = doorbell.wait(last, Always(), FOR_EVER_S)
            streak = streak + 1 if wakeup is Wakeup.CHANGES else 0


if __name__ == "__main__":
    main()

"""A daemon that serves while CMP changes in updates, and what it promises while something is broken."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.host import REGISTRIES, Daemon, Host, until
from support.numbered_updates import NumberedUpdates
from support.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.cmp import Cmp
    from support.evidence import Scale

ALL = frozenset(REGISTRIES)
Failure = AbstractContextManager[object]
"""Something is broken as long as the `with` block runs."""


@contextmanager
def readers(root: Path, scale: Scale) -> Iterator[None]:
    """Let another process read all files; in a campaign it makes no pause.

    Checks that each file was complete, and that no file showed an older update again.
    """
    reader = Reader(root, "updates", scale(5, 0) / 1000)
    try:
        yield
    finally:
        found = reader.end()
    assert found["wrong"] == []


@dataclass
class Trial:
    """A daemon that serves while CMP changes in updates."""

    cmp: Cmp
    host: Host
    updates: NumberedUpdates
    daemon: Daemon

    def check(
        self, failure: Failure, reason: str, held: frozenset[str] | None = None, *, behind: bool = True
    ) -> int:
        """Write during a failure, then end the failure. Returns how many files stayed behind meanwhile.

        `reason` must be reported. With `held`, exactly these registries must be held. If `behind` is false,
        the files of these registries can show the latest update.
        """
        seen = len(self.daemon.events)
        with failure:
            token = self.updates.next()
            verdict = self.cmp.wait(token)
            late = self.updates.behind()
            assert verdict.status == ("held" if late or held else verdict.status), (verdict, late)
            assert held is None or late == (held if behind else late & held), (verdict, late)
            if verdict.status == "held":
                event = self.daemon.wait_for("held", after=seen)
                assert reason in verdict.detail
                assert reason in event["reason"]
                assert verdict.hint
                assert event["hint"]
                self._assert_status_names({*late})
            self.assert_alive()
        until(lambda: self.cmp.wait(token).status == "published", "published once the failure is gone")
        assert not self.updates.behind()
        until(self.updates.right, "no incomplete file is left")
        self.assert_alive()
        return len(late)

    def assert_alive(self) -> None:
        """Check that the daemon runs and has lost no session."""
        assert self.daemon.process.poll() is None, self.daemon.noise
        assert not [event for event in self.daemon.events if event["event"] == "session_lost"]

    def _assert_status_names(self, late: set[str]) -> None:
        """Check that `status` reports these registries as held."""
        faults = self.updates.faults()
        late &= self.updates.behind()  # with a little room, more files fit later
        assert all(f"{name.rpartition('/')[2]} is held: " in faults for name in late), faults


def start_trial(cleanup: ExitStack, cmp: Cmp, host: Host, *, projects: int = 40) -> Trial:
    """Start a daemon that polls often."""
    cleanup.callback(host.close)
    host.env["OMNICDC_POLL_S"] = "0.05"
    # Otherwise they would be dropped on a full disk, and there would be room again (test_kept_generations).
    host.env["OMNICDC_KEEP_GENERATIONS"] = "0"
    updates = NumberedUpdates(cmp, host, projects)
    return Trial(cmp, host, updates, host.daemon())

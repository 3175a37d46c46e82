"""How long the daemon waits, and how often it runs its tasks, in one place.

These are not settings, because the values suit every server and every disk. Tests use shorter ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnicdc.capture.reading_limit import READING_IDLE_S
from omnicdc.model import HEARTBEAT_S
from omnicdc.registries.rows import STATEMENT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds, except `statement_timeout`, which has PostgreSQL's own format."""

    heartbeat_s: float = HEARTBEAT_S
    """Time between two heartbeats. With each heartbeat the daemon prunes the log and sends a canary."""

    capture_look_s: float = 5.0
    """Time between two checks of the capture, if `poll_s` is longer. A check takes the server 1 ms."""

    notification_s: float = 5.0
    """Longest time for a canary's notification to arrive. Normal: 1 ms; about 100 ms if writers load the
    server fully."""

    statement_timeout: str = STATEMENT_TIMEOUT
    """The time limit for each statement of the session."""

    reading_idle_s: float = READING_IDLE_S
    """The server ends the session of a daemon that does nothing for so long within a reading."""

    publication_wait_s: float = 0.05
    """How long a publication waits for a refresh of the workspaces."""

    first_start_wait_s: float = 3.0
    """How long the daemon's first start on a host waits until the workspaces are searched."""

    start_wait_s: float = 0.25
    """How long any later start waits for a refresh of the workspaces."""

    once_wait_s: float = 60.0
    """How long `run --once` waits for the workspaces, and then again for GitHub."""

    stuck_s: float = 1.0
    """If the refresh of a workspace takes longer, publications do not wait for it."""

    hung_s: float = 30.0
    """If the refresh of a workspace takes longer, this is reported as a fault: its mount may hang."""

    walking_s: float = 600.0
    """If the search of a whole workspace takes longer, this is reported as a fault."""

    unwatched_look_s: float = 10.0
    """Time between two refreshes of a workspace if not all of its directories can be watched."""

    watched_look_s: float = 60.0
    """Time between two refreshes of a workspace that is watched. They are needed, because a network file
    system does not report the changes of other hosts."""


USUAL = Timing()
"""The values that the daemon uses."""

"""How long the daemon waits for each thing, and how often it looks: seconds, in one place.

None of these is a setting: the values suit every server and every disk. A test passes shorter ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnicdc.model import HEARTBEAT_S
from omnicdc.registries.rows import STATEMENT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds, but for `statement_timeout`, which is written as PostgreSQL reads it."""

    heartbeat_s: float = HEARTBEAT_S
    """Between two heartbeats; each prunes the log and sends a canary."""

    capture_look_s: float = 5.0
    """How often the capture is looked at, if `poll_s` is longer; it takes the server a millisecond."""

    notification_s: float = 5.0
    """Longest time for a canary's notification to arrive. Normal: 1 ms; about 100 ms if writers load the
    server fully."""

    statement_timeout: str = STATEMENT_TIMEOUT
    """For each statement of the session."""

    publication_wait_s: float = 0.05
    """How long a publication waits for a look at the workspaces."""

    first_start_wait_s: float = 3.0
    """How long the very first start waits for the workspaces to be walked."""

    start_wait_s: float = 0.25
    """How long any other start waits for a look at them."""

    once_wait_s: float = 60.0
    """How long `run --once` waits for the workspaces, and then for GitHub."""

    stuck_s: float = 1.0
    """A look at a workspace that takes longer is not waited for by a publication."""

    hung_s: float = 30.0
    """After this long a workspace that gives no answer is reported."""

    walking_s: float = 600.0
    """After this long a walk that has not ended is reported."""

    unwatched_look_s: float = 10.0
    """Between two looks at a workspace root that cannot be watched, or not all of it."""

    watched_look_s: float = 60.0
    """Between two looks at one that is watched: a network file system reports no changes of other hosts."""


USUAL = Timing()
"""What the daemon runs with."""

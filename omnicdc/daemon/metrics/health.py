"""Judges the daemon for load balancers and supervisors: is it alive, and are its files current? No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omnicdc.daemon.metrics.facts import Facts

WATCHDOG_S = 180.0
"""Without progress of the loop for longer, the daemon hangs. systemd/omnicdc.service has the same time."""


def not_alive(facts: Facts) -> str:
    """Return why the daemon should be restarted; empty if it should not."""
    if facts.turned_s > WATCHDOG_S:
        return f"the daemon has made no progress for {facts.turned_s:.0f} s: `systemctl restart omnicdc`"
    return ""


def not_ready(facts: Facts, max_lag_s: float) -> str:
    """Return why the files on this host may not show what CMP holds; empty if they do."""
    if not facts.connected:
        return "no session with CMP's database: `journalctl -u omnicdc` says why; retrying automatically"
    if not facts.published:
        return "the first publication is not done yet"
    if facts.capture_fault:
        return f"capture is broken: {facts.capture_fault}: `omnicdc status` names the remedy"
    if facts.held:
        lines = [f"{name} is held: {reason}" for name, reason in facts.held.items()]
        return "\n".join([*lines, "`omnicdc status` names the remedy"])
    if facts.lag_s > max_lag_s:
        return f"the files are {facts.lag_s:.0f} s behind CMP (max_lag_s is {max_lag_s:g}): `omnicdc status`"
    return not_alive(facts)

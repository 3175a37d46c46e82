"""What one session of the daemon knows between two cycles. Lost with the session: a start scans in full."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from omnicdc.inputs.urls import github
from omnicdc.model import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from omnicdc.capture.watch_list import Watch
    from omnicdc.config.settings import Config
    from omnicdc.files.manifest import Signatures
    from omnicdc.model import Change, Fault, Inputs, Published, Work
    from omnicdc.registries.projection import Registry
    from omnicdc.stop import Stop

log = structlog.get_logger()

TOLD = 20
"""How many faults of the inputs, and notices, are told by their words."""


MOST_DOUBLINGS = 6
LONGEST_REST_S = 300.0
"""How long a registry that is held is left alone at the most: 64 times as long as the last attempt took, so that it takes a
sixtieth of the daemon's time, and never longer than this."""

QUICK_S = 1.0
"""What fails within this time is tried again at once when a change concerns it."""


def back_off_s(failures: int, took_s: float) -> float:
    """Return how long to leave a registry alone that failed so many times in a row, the last time after `took_s`.

    What fails quickly, as on a full disk, is so tried again at each look; a scan of 45 s that fails is not.
    """
    return min(took_s * 2.0 ** min(failures, MOST_DOUBLINGS), LONGEST_REST_S)


@dataclass(slots=True)
class Standing:
    """One registry: what it should hold, what its file holds, and why the two differ, if they do."""

    registry: Registry
    published: Published | None = None
    """The file as it was last put there; None while that is not known."""
    unsynced: Published | None = None
    """What was put there and could not be synced: ours, and to be put there anew, for another sync would not tell what
    the failed one lost."""
    found: int = 0
    """How many entries the file had that was there at the start, where `published` is not known."""
    pending: bool = True
    """Whether the file may differ from what it should hold."""
    scan_due: bool = True
    """Whether only a full scan can tell what it should hold."""
    since: str = ""
    """The snapshot that the file shows; empty if none."""
    fault: Fault | None = None
    """Why it is held back."""
    failures: int = 0
    """How often in a row it could not be published."""
    took_s: float = 0.0
    """How long the last failure took."""
    retry_at: float = 0.0
    """When it is tried again, by `time.monotonic`, if nothing happens before."""
    guarded: bool = False
    """Whether it is the guard that holds it back, or held it when this was last told."""
    unread: bool = True
    """Whether only reading all of the file can tell what it holds: at a start, and in a sweep."""
    alerted: bool = False
    """Whether the change by another hand that is in the file now was told."""
    aside: tuple[int, int, int] | None = None
    """Size, time and inode of what was there when it was told and kept aside; None if nothing was."""
    drifted: int = 0
    """How often its file was found changed by another hand."""
    not_kept: tuple[str, ...] = ()
    """Which attributes of a replaced file could not be given to the new one, as last reported."""

    @property
    def path(self) -> str:
        """Of the file, below the root."""
        return self.registry.scanner.path

    @property
    def name(self) -> str:
        """The registry's name in logs and answers: its file's."""
        return self.registry.scanner.registry

    def hold(self, fault: Fault, *, guarded: bool = False, took_s: float = 0.0) -> None:
        """Keep the last good file, and say why; the same reason is said once.

        Each time that it fails, it is left alone for twice as long. `took_s` is how long the attempt took.
        """
        self.failures += 1
        self.took_s = took_s
        self.retry_at = time.monotonic() + back_off_s(self.failures, took_s)
        if fault != self.fault:
            log.warning("held", registry=self.name, reason=fault.reason, hint=fault.hint)
        self.fault, self.guarded = fault, guarded

    def lasts(self) -> None:
        """Take what was put there as published: it is synced."""
        self.published, self.unsynced = self.unsynced, None
        self.release()

    def release(self) -> None:
        """Take the file as holding what it should, and say so if it was held."""
        if self.fault:
            log.info("released", registry=self.name, was=self.fault.reason)
        self.fault, self.guarded, self.pending, self.alerted = None, False, False, False
        self.failures, self.took_s = 0, 0.0
        self.retry_now()

    def retry_now(self) -> None:
        """Try it again in the next cycle: what it is held for may be over."""
        self.retry_at = 0.0

    @property
    def resting(self) -> bool:
        """Whether it is held, and left alone for now."""
        return self.fault is not None and time.monotonic() < self.retry_at


@dataclass(frozen=True, slots=True)
class Identity:
    """Snapshots and transaction ids mean something in one cluster, on one timeline only."""

    system_identifier: int
    timeline: int


@dataclass(frozen=True, slots=True)
class Capture:
    """What the database says of the capture."""

    mark: str
    """Alters when changes may have been missed."""
    fault: str | None = None
    mend: str = ""
    trusted: bool = True
    """Whether it has our watch list; if not, every change concerns every scanner."""
    lacking: tuple[str, ...] = ()
    """What our watch list has and the installed one has not."""


class Looker(Protocol):
    """Whoever looks for the inputs of what a change brought."""

    def look(self, state: State, keys: Collection[str] | None, *, thorough: bool) -> None:
        """Look for the inputs of these URL keys (None: of any), wait a moment, and give the state what is known."""


@dataclass(slots=True)
class State:
    """One session's view; `snapshot` is the one of the last read, "" before the first."""

    config: Config
    watch: Watch
    identity: Identity
    inputs: Inputs
    standings: Mapping[str, Standing]
    """By scanner, in the order of publication."""
    started_at: datetime
    stop: Stop
    """Long work looks at it."""
    capture: Capture
    """As it was last looked at."""
    proven: str | None = None
    """The capture's mark when everything was last read: what it missed before is in the registries all the same."""
    snapshot: str = ""
    generation: int = 0
    accepted: bool = False
    """Whether what the guard holds is let through by the next publication."""
    rescan: dict[str, set[str]] = field(default_factory=dict)
    """Projects that an input concerns, by scanner."""
    retrying: bool = False
    """Whether a manifest that could not be written is tried again in the next cycle."""
    manifest_due: bool = False
    """Whether the manifest does not tell of the files as they are."""
    manifest_seen: tuple[int, int, int] | None = None
    """Size, time and inode of the one that does; None if none does."""
    manifest_not_kept: tuple[str, ...] = ()
    """As `Standing.not_kept`."""
    place: str = ""
    """Which tables the log and CMP's are."""
    trouble: Fault | None = None
    """What is wrong with the way that changes take to us."""
    trouble_since: datetime | None = None
    pruning: Fault | None = None
    """Why the log cannot be pruned."""
    pruning_since: datetime | None = None
    daemon: bool = True
    """Whether this goes on after the first publication; else (`run --once`) the log is not kept for it."""
    stored_quarantine: Mapping[str, Mapping[str, str]] | None = None
    """What the database has of `quarantine`; None if that is not known."""
    announced: dict[str, Signatures] = field(default_factory=dict)
    """Files that are ours although the manifest may not tell of them, by their path below the root."""
    last_error: str | None = None
    last_error_at: datetime | None = None
    parked: bool = False
    """Whether writers ring, until the next reading."""
    acknowledge_ms: float = 0.0
    """How long the last acknowledgement took."""
    looker: Looker | None = None
    """Who is asked for the inputs of what a change brought; None if they are as they are."""
    looking: tuple[str, ...] = ()
    """What is still being looked at, as of `inputs`."""
    input_faults: tuple[str, ...] = ()
    """What a person should fix in the inputs."""
    input_notices: tuple[str, ...] = ()
    """What a person may want to know of them."""
    inputs_reported: object = None
    """What was last acknowledged of the inputs."""
    _told: object = None

    def seen(self, snapshot: str, changes: Iterable[Change]) -> None:
        """Take a reading as read: what was not held back is from this snapshot now."""
        self.snapshot = snapshot
        self.accepted = any(change.op == "accept" for change in changes)
        if self.capture.lacking:
            self.proven = None  # what is not watched may have changed since
        elif all(standing.fault or not standing.scan_due for standing in self.standings.values()):
            self.proven = self.capture.mark

    def tried_now(self, work: Work, changes: Iterable[Change]) -> Work:
        """Return the part of the work that changes ask for which is done now; the rest is left to a full scan.

        A registry that is held because its scan fails is scanned again at once if that is quick, or a rebuild asks for it.
        """
        rebuild = any(change.op == "rebuild" for change in changes)
        for name in work:
            standing = self.standings[name]
            if rebuild or standing.took_s <= QUICK_S:
                standing.retry_now()
        left_out = {name for name in work if self.standings[name].resting}
        for name in left_out:
            self.standings[name].scan_due = True
        return {name: ids for name, ids in work.items() if name not in left_out}

    def overdue(self) -> Work:
        """Return the work that no row of the log asks for: full scans due, and what inputs concern."""
        work: Work = {name: frozenset(ids) for name, ids in self.rescan.items()}
        due = (
            name for name, standing in self.standings.items() if standing.scan_due and self.may_try(standing)
        )
        return work | dict.fromkeys(due, EVERYTHING)

    def pending(self) -> bool:
        """Whether a file may be written now."""
        may = any(standing.pending and self.may_try(standing) for standing in self.standings.values())
        return may or (self.manifest_due and self.retrying)

    def news(self) -> bool:
        """Whether what is held back, or why, is not what was told last."""
        return self._told != self._to_tell() or self.inputs_reported != self.inputs_report()

    def told(self, ms: float) -> None:
        """Take what is held back as told, in so many milliseconds."""
        self._told, self.acknowledge_ms = self._to_tell(), ms

    def _to_tell(self) -> object:
        return (
            {standing.name: standing.fault for standing in self.held()},
            self.quarantine(),
            self.trouble,
            self.pruning,
            self.last_error,
            self.proven,
        )

    def settle(self) -> None:
        """After a publication: what is not held back shows this snapshot, and what failed waits for the next try."""
        self.retrying = False
        for standing in self.standings.values():
            if not (standing.pending or standing.scan_due or standing.fault):
                standing.since = self.snapshot

    def altered(self, capture: Capture) -> None:
        """Take the capture as it is now: what CMP wrote before may have been missed, so have everything scanned."""
        self.capture = capture
        self.sweep()
        for standing in self.standings.values():
            standing.since = ""

    def sweep(self) -> None:
        """Have the next cycle scan and compare everything, whatever the log says."""
        for standing in self.standings.values():
            standing.scan_due = standing.unread = True
            standing.retry_now()

    def inputs_report(self) -> dict[str, Any]:
        """Return what is acknowledged of the inputs: whether the files hold them, and what is wrong with them."""
        behind = self.rescan or any(it.pending and not it.fault for it in self.standings.values())
        waiting = self.looking or (("publication",) if behind else ())
        return {
            "state": "looking" if waiting else "current",
            "waiting_for": list(waiting),
            "faults": list(self.input_faults[:TOLD]),
            "fault_count": len(self.input_faults),
            "notices": list(self.input_notices[:TOLD]),
            "notice_count": len(self.input_notices),
        }

    def arrived(self) -> Collection[str] | None:
        """Return the URL keys that were seen for the first time since the last call; None if any may be among them."""
        found = [standing.registry.take_arrived() for standing in self.standings.values()]
        return None if None in found else {key for keys in found if keys for key in keys}

    def owners(self, keys: Collection[str] | None = None) -> frozenset[str]:
        """Return the owners of the repositories with these URL keys; of None, of all that CMP names.

        All of them take a tenth of a second at 100,000.
        """
        return frozenset(
            found[0] for key in (self.keys() if keys is None else keys) if (found := github(key))
        )

    def keys(self) -> frozenset[str]:
        """Return the URL keys of all projects."""
        return frozenset(
            key for standing in self.standings.values() for key in standing.registry.known_keys()
        )

    def take_inputs(self, inputs: Inputs) -> None:
        """Have every registry take new inputs; the projects they concern are scanned by the next cycle."""
        self.inputs = inputs
        for name, standing in self.standings.items():
            changed, projects = standing.registry.take_inputs(inputs)
            standing.pending |= changed
            if changed or projects:
                standing.retry_now()
            if projects:
                self.rescan.setdefault(name, set()).update(projects)

    def may_try(self, standing: Standing) -> bool:
        """Whether a registry is not held, or may be tried again."""
        return not standing.resting or self.accepted

    def quarantine(self) -> dict[str, Mapping[str, str]]:
        """Return registry to project to the reason why it is held back; registries without any are left out."""
        return {s.name: held for s in self.standings.values() if (held := s.registry.held_projects())}

    def held(self) -> Iterator[Standing]:
        """Return the registries whose files are behind, each with its fault."""
        return (standing for standing in self.standings.values() if standing.fault)

"""What one session of the daemon knows between two cycles. Lost with the session: a start scans in full."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from omnicdc.files.decide import Policy
from omnicdc.files.manifest import Manifest
from omnicdc.formats.urls import github
from omnicdc.model import ALL, Generation
from omnicdc.registries.hold import QUICK_S
from omnicdc.registries.scan import Scanning

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from omnicdc.capture.fingerprint import Capture
    from omnicdc.capture.watch_list import Watch
    from omnicdc.config.settings import Config
    from omnicdc.files.manifest_file import ManifestFile
    from omnicdc.files.publication import Publication
    from omnicdc.files.registry_file import RegistryFile
    from omnicdc.log.timings import Timings
    from omnicdc.model import Change, Fault, Identity, Inputs, Work
    from omnicdc.registries.projection import Projection
    from omnicdc.stop import Stop

TOLD = 20
"""How many faults of the inputs, and notices, are told by their words."""


class Looker(Protocol):
    """Whoever looks for the inputs of what a change brought."""

    def look(self, state: State, keys: Collection[str] | None, *, thorough: bool) -> None:
        """Look for the inputs of these URL keys, wait a moment, and give the state what is known.

        None: the inputs of any URL key.
        """


@dataclass(slots=True)
class State:
    """One session's view; `snapshot` is the one of the last read, "" before the first."""

    config: Config
    watch: Watch
    identity: Identity
    inputs: Inputs
    files: Mapping[str, RegistryFile]
    """By scanner, in the order of publication."""
    manifest: ManifestFile
    started_at: datetime
    stop: Stop
    """Long work looks at it."""
    capture: Capture
    """As it was last looked at."""
    verified_fingerprint: str | None = None
    """The capture's fingerprint when everything was last read: what it missed before is in the registries all
    the same."""
    snapshot: str = ""
    generation: int = 0
    accepted: bool = False
    """Whether what the guard holds is let through by the next publication."""
    rescan: dict[str, set[str]] = field(default_factory=dict)
    """Projects that an input concerns, by scanner."""
    relation_identity: str = ""
    """The identity of the log and of CMP's table."""
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
    parked: bool = False
    """Whether writers notify, until the next reading."""
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
    _reported: object = None

    @property
    def projections(self) -> Mapping[str, Projection]:
        """By scanner, in the order of publication."""
        return {name: file.projection for name, file in self.files.items()}

    def mark_read(self, snapshot: str, changes: Iterable[Change]) -> None:
        """Take a reading as read: what was not held back is from this snapshot now."""
        self.snapshot = snapshot
        self.accepted = any(change.op == "accept" for change in changes)
        if self.capture.lacking:
            self.verified_fingerprint = None  # what is not watched may have changed since
        elif all(it.hold.fault or not it.scan_due for it in self.projections.values()):
            self.verified_fingerprint = self.capture.fingerprint

    def due_now(self, work: Work, changes: Iterable[Change]) -> Work:
        """Return the part of the work that changes ask for which is done now.

        The rest is left to a full scan.

        A registry that is held because its scan fails is scanned again at once if that is quick, or a rebuild
        asks for it.
        """
        rebuild = any(change.op == "rebuild" for change in changes)
        projections = self.projections
        for name in work:
            hold = projections[name].hold
            if rebuild or hold.took_s <= QUICK_S:
                hold.retry_now()
        left_out = {name for name in work if projections[name].hold.resting}
        for name in left_out:
            projections[name].scan_due = True
        return {name: ids for name, ids in work.items() if name not in left_out}

    def overdue(self) -> Work:
        """Return the work that no row of the log asks for: full scans due, and what inputs concern."""
        work: Work = {name: frozenset(ids) for name, ids in self.rescan.items()}
        due = (name for name, it in self.projections.items() if it.scan_due and self.may_try(it))
        return work | dict.fromkeys(due, ALL)

    def may_write(self) -> bool:
        """Whether a file may be written now."""
        may = any(it.dirty and self.may_try(it) for it in self.projections.values())
        return may or (self.manifest.due and self.manifest.retrying)

    def has_unreported_faults(self) -> bool:
        """Whether what is held back, or why, is not what was told last."""
        return self._reported != self._to_report() or self.inputs_reported != self.inputs_report()

    def mark_reported(self, ms: float) -> None:
        """Take what is held back as told, in so many milliseconds."""
        self._reported, self.acknowledge_ms = self._to_report(), ms

    def _to_report(self) -> object:
        return (
            {projection.name: projection.hold.fault for projection in self.held()},
            self.quarantine(),
            self.trouble,
            self.pruning,
            self.manifest.error,
            self.verified_fingerprint,
        )

    def scanning(self, timings: Timings, observe: Callable[[str], None]) -> Scanning:
        """Return what a scan needs to know."""
        remedy = self.capture.remedy if self.capture.fault else ""
        return Scanning(self.projections, self.config.table, self.stop, timings, observe, remedy)

    def mark_scanned(self, scanners: Iterable[str]) -> None:
        """After a scan: what inputs asked these scanners to look at was looked at."""
        for name in scanners:
            self.rescan.pop(name, None)

    def policy(self) -> Policy:
        """Return what decides about files: the operator's settings, and what was accepted."""
        config = self.config
        return Policy(config.on_drift == "restore", config.guard_share, config.guard_min, self.accepted)

    def mark_published(self, done: Publication) -> None:
        """After a publication.

        What is not held shows this snapshot, and what failed waits for the next try.
        """
        self.accepted = self.manifest.retrying = False
        if done.written:
            self.generation += 1
        self.manifest.due |= done.adopted or bool(done.written)
        for projection in self.projections.values():
            if not (projection.dirty or projection.scan_due or projection.hold.fault):
                projection.as_of = self.snapshot

    def as_manifest(self) -> Manifest:
        """Return what the manifest is to say of the files as they are."""
        registries = {file.path: file.published for file in self.files.values() if file.published}
        return Manifest(self.config.consumer, self.generation, self.snapshot, datetime.now(UTC), registries)

    def as_generation(
        self,
        changes: Iterable[Change],
        work: Work,
        written: tuple[str, ...],
        timings: Mapping[str, float],
        asked: Collection[str],
    ) -> Generation:
        """Return what this cycle did.

        `asked` are the scanners that changes concerned, whether or not they were tried.
        """
        named = [ids for ids in work.values() if ids is not ALL]
        concerned = {*work, *asked}
        return Generation(
            number=self.generation,
            snapshot=self.snapshot,
            changes=sum(change.rows for change in changes),
            projects=len(set().union(*named)) if len(named) == len(work) else None,
            scanners=tuple(name for name in self.files if name in work),
            registries=written,
            held={
                it.name: it.hold.fault for it in self.held() if it.hold.fault and it.scanner.name in concerned
            },
            quarantined=self.quarantine(),
            timings=timings,
            at=datetime.now(UTC),
        )

    def altered(self, capture: Capture) -> None:
        """Take the capture as it is now.

        What CMP wrote before may have been missed, so have everything scanned.
        """
        if capture != self.capture:
            capture.report()
        self.capture = capture
        self.sweep()
        for projection in self.projections.values():
            projection.as_of = ""

    def sweep(self) -> None:
        """Have the next cycle scan and compare everything, whatever the log says."""
        for file in self.files.values():
            file.needs_rehash = True
            file.projection.sweep()

    def inputs_report(self) -> dict[str, Any]:
        """Return what is acknowledged of the inputs.

        Whether the files hold them, and what is wrong with them.
        """
        behind = self.rescan or any(it.dirty and not it.hold.fault for it in self.projections.values())
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
        """Return the URL keys that were seen for the first time since the last call.

        None if any may be among them.
        """
        found = [projection.take_arrived() for projection in self.projections.values()]
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
        return frozenset(key for projection in self.projections.values() for key in projection.known_keys())

    def take_inputs(self, inputs: Inputs) -> None:
        """Have every registry take new inputs; the projects they concern are scanned by the next cycle."""
        self.inputs = inputs
        for name, projection in self.projections.items():
            changed, projects = projection.take_inputs(inputs)
            projection.dirty |= changed
            if changed or projects:
                projection.hold.retry_now()
            if projects:
                self.rescan.setdefault(name, set()).update(projects)

    def may_try(self, projection: Projection) -> bool:
        """Whether a registry is not held, or may be tried again."""
        return self.accepted or not projection.hold.resting

    def quarantine(self) -> dict[str, Mapping[str, str]]:
        """Return registry to project to the reason why it is held back.

        Registries without any are left out.
        """
        return {it.name: held for it in self.projections.values() if (held := it.held_projects())}

    def held(self) -> Iterator[Projection]:
        """Return the registries whose files are behind, each with its reason."""
        return (projection for projection in self.projections.values() if projection.hold.fault)

"""What one session of the daemon remembers between two cycles. A new session starts with a full scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from omnicdc.errors import DatabaseUnavailable
from omnicdc.files.decide import Policy
from omnicdc.files.manifest import Manifest
from omnicdc.formats.urls import github
from omnicdc.inputs.report import report
from omnicdc.model import ALL, Generation
from omnicdc.registries.scan import Scanning
from omnicdc.registries.schedule import Schedule

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
    from omnicdc.registries.tables import Tables
    from omnicdc.stop import Stop


class InputRefresher(Protocol):
    """Refreshes the inputs that a new project needs, such as the path of its clone."""

    def look(self, state: State, keys: Collection[str] | None, *, thorough: bool) -> None:
        """Refresh the inputs of these URL keys, wait a short time, and put what is known into the state.

        `keys` is None for the inputs of all URL keys. `thorough` also refreshes what takes long.
        """


@dataclass(slots=True)
class State:
    """The memory of one session. `snapshot` is the snapshot of its last read; "" before the first read."""

    config: Config
    tables: Tables
    watch: Watch
    identity: Identity
    inputs: Inputs
    files: Mapping[str, RegistryFile]
    """Scanner to file, in the order of publication."""
    broken: Mapping[str, Fault]
    """Scanner to the reason why it cannot be scanned; its registry is held."""
    unused: Mapping[str, Fault]
    """Registry to the reason why it is not published: CMP lacks its table, or the table is not watched."""
    manifest: ManifestFile
    started_at: datetime
    stop: Stop
    """Long work checks this flag and ends early."""
    capture: Capture
    """The state of the capture at its last check."""
    verified_fingerprint: str | None = None
    """The capture's fingerprint at the last full read. Changes that the capture missed before it are in the
    registries, because the full read saw them."""
    snapshot: str = ""
    generation: int = 0
    accepted: bool = False
    """True if the next publication writes what the guard holds."""
    rescan: dict[str, set[str]] = field(default_factory=dict)
    """Scanner to the projects that must be scanned because an input changed."""
    relation_identity: str = ""
    """Identifies the log and CMP's table. It changes if one of them is dropped and created again."""
    delivery_fault: Fault | None = None
    """Why changes may not reach this daemon, as the last canary showed; None if they do."""
    delivery_fault_since: datetime | None = None
    pruning: Fault | None = None
    """Why the log cannot be pruned; None if it can."""
    pruning_since: datetime | None = None
    daemon: bool = True
    """True for `run`. False for `run --once`: it ends after one publication and needs no older log."""
    stored_quarantine: Mapping[str, Mapping[str, str]] | None = None
    """The `quarantine` that is in the database; None if that is not known."""
    parked: bool = False
    """True if this session is parked: until its next reading, writers notify it."""
    counts_transactions: bool = False
    """True if each reading counts the transactions in the log, for the metrics."""
    unpublished: int = 0
    """The changes that this cycle has read and not acknowledged yet. Any thread may read it."""
    input_refresher: InputRefresher | None = None
    """Refreshes the inputs of new projects; None if the inputs stay as they were loaded."""
    background_faults: tuple[str, ...] = ()
    """A line for each fault of what follows a publication: its commands, keeping it, and monitoring."""
    plugin_faults: tuple[str, ...] = ()
    """A line for each plug-in that cannot be used."""
    looking: tuple[str, ...] = ()
    """The refreshes that were not finished when `inputs` was taken, such as `GitHub`."""
    input_faults: tuple[str, ...] = ()
    """Faults of the inputs that a user should fix."""
    input_notices: tuple[str, ...] = ()
    """Entries in people's files that may be a mistake, and faults that change no registry."""
    inputs_reported: object = None
    """The `inputs_report` that was last acknowledged."""
    schedule: Schedule = field(init=False)
    """Which work a later cycle does."""
    _reported: object = None
    """What `_to_report` returned at the last acknowledgement."""

    def __post_init__(self) -> None:
        """Begin without postponed work."""
        self.schedule = Schedule(self.projections)

    @property
    def projections(self) -> Mapping[str, Projection]:
        """Scanner to projection, in the order of publication."""
        return {name: file.projection for name, file in self.files.items()}

    def mark_read(self, snapshot: str, changes: Iterable[Change]) -> None:
        """Record that the log was read up to `snapshot`, and whether it contained an `accept`."""
        self.snapshot = snapshot
        self.accepted = any(change.op == "accept" for change in changes)
        if self.capture.lacking:
            self.verified_fingerprint = None  # columns that are not watched may have changed
        elif all(it.hold.fault or not it.scan_due for it in self.projections.values()):
            self.verified_fingerprint = self.capture.fingerprint

    def due_now(self, work: Work, changes: Iterable[Change]) -> Work:
        """Return the part of `work` that this cycle does. `work` is what the changes ask for."""
        return self.schedule.due_now(work, rebuild=any(change.op == "rebuild" for change in changes))

    def overdue(self) -> Work:
        """Return the work that no row of the log asks for: full scans that are due, and changes of inputs."""
        return self.schedule.overdue(self.rescan, accepted=self.accepted)

    def may_write(self) -> bool:
        """Return True if a registry file or the manifest is due, and may be written in this cycle."""
        may = any(it.dirty and self.may_try(it) for it in self.projections.values())
        return may or (self.manifest.due and self.manifest.retrying)

    def has_unreported_faults(self) -> bool:
        """Return True if the faults or the inputs differ from the last acknowledgement."""
        return self._reported != self._to_report() or self.inputs_reported != self.inputs_report()

    def mark_reported(self) -> None:
        """Record that the present faults are acknowledged."""
        self._reported = self._to_report()

    def _to_report(self) -> object:
        return (
            {projection.name: projection.hold.fault for projection in self.held()},
            self.quarantine(),
            self.delivery_fault,
            self.pruning,
            self.manifest.error,
            self.verified_fingerprint,
            [it.name for it in self.projections.values() if it.postponed],
            self.background_faults,
        )

    def scanning(self, timings: Timings, observe: Callable[[str], None]) -> Scanning:
        """Return the arguments of a scan."""
        remedy = self.capture.remedy if self.capture.fault else ""
        return Scanning(self.projections, self.tables, self.stop, timings, observe, self.broken, remedy)

    def mark_scanned(self, scanners: Iterable[str]) -> None:
        """Record that these scanners have scanned the projects that inputs concern."""
        for name in scanners:
            self.rescan.pop(name, None)

    def policy(self) -> Policy:
        """Return what `files.decide` needs: the operator's settings, and whether a loss was accepted."""
        config = self.config
        return Policy(config.on_drift == "restore", config.guard_share, config.guard_min, self.accepted)

    def mark_published(self, done: Publication) -> None:
        """Record a publication.

        Registries that are up to date now show `snapshot`. What failed waits for its next attempt.
        """
        self.accepted = self.manifest.retrying = False
        self.schedule.end_cycle()
        if done.written:
            self.generation += 1
        self.manifest.due |= done.adopted or bool(done.written)
        for projection in self.projections.values():
            if not (projection.dirty or projection.scan_due or projection.hold.fault):
                projection.as_of = self.snapshot

    def as_manifest(self) -> Manifest:
        """Return the manifest that describes the present files."""
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
        """Describe what this cycle did.

        `asked` are all scanners that the changes concern, including those whose work was postponed.
        """
        named = [ids for ids in work.values() if ids is not ALL]
        # A registry that was held before, and is only tried again, is not concerned.
        concerned = {*asked, *(name for name in work if self.projections[name].hold.failures <= 1)}
        return Generation(
            number=self.generation,
            snapshot=self.snapshot,
            changes=sum(change.rows for change in changes),
            projects=len(set().union(*named)) if len(named) == len(work) else None,
            scanners=tuple(name for name in self.files if name in work),
            registries=written,
            postponed=tuple(
                it.name for it in self.projections.values() if it.postponed and it.scanner.name in concerned
            ),
            held={
                it.name: it.hold.fault for it in self.held() if it.hold.fault and it.scanner.name in concerned
            },
            quarantined=self.quarantine(),
            timings=timings,
            at=datetime.now(UTC),
        )

    def replace_capture(self, capture: Capture) -> None:
        """Install `capture` as the current state of the capture, and have everything scanned.

        The capture may have missed changes before this check. Raises DatabaseUnavailable if there are
        registries that are not omnicdc's own: the next session finds out whether it can serve them, and how.
        """
        if capture != self.capture:
            capture.report()
            if self.broken or not all(it.scanner.builtin for it in self.projections.values()):
                raise DatabaseUnavailable("the capture has changed: registries are checked", again=True)
        self.capture = capture
        self.sweep()
        for projection in self.projections.values():
            projection.as_of = ""

    def sweep(self) -> None:
        """Make the next cycle scan all of CMP and compare all files, even if the log has no change."""
        for file in self.files.values():
            file.sweep()

    def inputs_report(self) -> dict[str, Any]:
        """Return the part of the acknowledgement that is about the inputs."""
        pending = self.rescan or any(it.dirty and not it.hold.fault for it in self.projections.values())
        waiting = self.looking or (("publication",) if pending else ())
        shadow_of = str(self.config.root) if self.config.shadow else None
        return report(waiting, self.input_faults, self.input_notices, shadow_of)

    def take_arrived_keys(self) -> Collection[str] | None:
        """Return the URL keys that got a project since the last call; None after a full scan: any key."""
        found = [projection.take_arrived() for projection in self.projections.values()]
        return None if None in found else {key for keys in found if keys for key in keys}

    def owners(self, keys: Collection[str] | None = None) -> frozenset[str]:
        """Return the owners of the repositories with these URL keys; None means the keys of all projects.

        For 100,000 keys this takes a tenth of a second.
        """
        return frozenset(
            found[0] for key in (self.keys() if keys is None else keys) if (found := github(key))
        )

    def keys(self) -> frozenset[str]:
        """Return the URL keys of all projects."""
        return frozenset(key for projection in self.projections.values() for key in projection.known_keys())

    def take_inputs(self, inputs: Inputs) -> None:
        """Install new inputs in every registry. The next cycle scans the projects that they concern."""
        self.inputs = inputs
        for name, projection in self.projections.items():
            changed, projects = projection.take_inputs(inputs)
            projection.dirty |= changed
            if changed or projects:
                projection.hold.retry_now()
            if projects:
                self.rescan.setdefault(name, set()).update(projects)

    def may_try(self, projection: Projection) -> bool:
        """Return True if a registry is not held, or its next attempt is due."""
        return self.accepted or not projection.hold.backing_off

    def quarantine(self) -> dict[str, Mapping[str, str]]:
        """Return the projects in quarantine: registry to project to reason.

        Registries without such a project are left out.
        """
        return {it.name: held for it in self.projections.values() if (held := it.quarantined_projects())}

    def held(self) -> Iterator[Projection]:
        """Return the held registries; `hold.fault` is the reason."""
        return (projection for projection in self.projections.values() if projection.hold.fault)

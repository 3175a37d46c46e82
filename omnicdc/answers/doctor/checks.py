"""The checks, in their order: a fault of one is often the cause of those after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omnicdc.answers.doctor import (
    backlog,
    capturing,
    configuration,
    database,
    machine,
    permissions,
    registry_files,
    room,
    server,
    service,
)
from omnicdc.answers.doctor.finding import (
    CONFIG_FAULT,
    NO_CONNECTION,
    NO_SCHEMA,
    REGISTRY_FAULT,
    Report,
    Skipped,
)
from omnicdc.answers.doctor.running import COMPARE_S, Check, run_checks
from omnicdc.answers.doctor.users import this_user

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from omnicdc.answers.doctor.site import Site

CHECKS = (
    Check("configuration", "settings", configuration.check_settings),
    Check("configuration", "registries", configuration.check_registries),
    Check("configuration", "password", configuration.check_password),
    Check("database", "connection", database.check_connection),
    Check("database", "server", server.check_server),
    Check("database", "role", database.check_role),
    Check("database", "schema", database.check_schema),
    Check("database", "foreign objects", database.check_foreign),
    Check("database", "row security", database.check_row_security),
    Check("database", "rights", permissions.check_rights),
    Check("database", "columns", permissions.check_reading),
    Check("database", "daemon roles", permissions.check_daemon_roles),
    Check("database", "parameters", server.check_parameters),
    Check("database", "doorbell", server.check_doorbell),
    Check("database", "queue", server.check_queue),
    Check("capture", "locks", capturing.check_locks),
    Check("capture", "tables", capturing.check_tables),
    Check("capture", "triggers", capturing.check_triggers),
    Check("capture", "watch list", capturing.check_watch_list),
    Check("capture", "queries", capturing.check_queries),
    Check("capture", "fingerprint", capturing.check_fingerprint),
    Check("capture", "publications", capturing.check_publications),
    Check("log", "length", backlog.check_length),
    Check("log", "dead rows", backlog.check_dead_rows),
    Check("consumers", "daemons", backlog.check_consumers),
    Check("consumers", "held", backlog.check_held),
    Check("consumers", "this host", backlog.check_this_host),
    Check("files", "root", registry_files.check_root),
    Check("files", "directories", registry_files.check_directories),
    Check("files", "lock", registry_files.check_lock),
    Check("files", "room", room.check_room),
    Check("files", "access", registry_files.check_access),
    Check("files", "people's files", registry_files.check_peoples_files),
    Check("files", "manifest", registry_files.check_manifest, COMPARE_S),
    Check("files", "content", registry_files.check_content, COMPARE_S),
    Check("host", "command", machine.check_command),
    Check("host", "gh", machine.check_gh),
    Check("host", "workspaces", machine.check_workspaces),
    Check("service", "unit", service.check_unit),
    Check("service", "user", service.check_user),
    Check("service", "program", service.check_program),
    Check("service", "settings", service.check_service_settings),
    Check("service", "paths", service.check_paths),
    Check("clocks", "clock", machine.check_clock),
)

GROUPS = tuple(dict.fromkeys(check.group for check in CHECKS))


CAUSES = ("settings", "registries", "connection", "role", "schema", "rights")
REPORTED_BY = frozenset({CONFIG_FAULT, REGISTRY_FAULT, NO_CONNECTION, NO_SCHEMA})
"""The checks without which others are skipped, and the reasons that these then give."""


def examine(
    site: Site, groups: Collection[str] = GROUPS, observe: Callable[[str], None] = lambda _name: None
) -> Report:
    """Run the checks of some groups. Nothing is written; a repeat looks again.

    If what they need is missing, the check that reports the cause is made as well, in whatever group it is.
    `observe` is called with the name of each check before it runs.
    """
    results = run_checks([it for it in CHECKS if it.group in groups], site, observe)
    if not REPORTED_BY.isdisjoint(it.finding.seen for it in results):
        others = [it for it in CHECKS if it.name in CAUSES and it.group not in groups]
        found = [it for it in run_checks(others, site, observe) if it.finding.status == "fail"]
        results = [*found, *results]
    try:
        role = site.role.name
    except Skipped:
        role = None
    return Report(tuple(results), this_user().name, role)

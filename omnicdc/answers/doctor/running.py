"""Runs the checks one after the other, each within a time limit. A check that fails stops no other one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from psycopg import errors

from omnicdc.answers.doctor.finding import Finding, Result, Skipped, fail
from omnicdc.errors import OmnicdcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from omnicdc.answers.doctor.site import Site

CHECK_S = 15.0
"""The longest time that one check may take. Connecting takes at most ten seconds of it."""

COMPARE_S = 300.0
"""The same, for a check that reads everything and compares it."""


class Look(Protocol):
    """A check: it looks, and yields what it saw. Raises Skipped if it cannot look."""

    def __call__(self, site: Site, /) -> Iterator[Finding]:
        """Yield at least one finding."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and where it stands in the answer."""

    group: str
    name: str
    look: Look
    limit_s: float = CHECK_S


def run_checks(
    checks: Iterable[Check], site: Site, observe: Callable[[str], None] = lambda _name: None
) -> list[Result]:
    """Run the checks in their order. `observe` is called with the name of each one before it runs."""
    results: list[Result] = []
    for check in checks:
        observe(f"{check.group}: {check.name}")
        results += [Result(check.group, check.name, found) for found in _findings(check, site)]
    return results


def _findings(check: Check, site: Site) -> list[Finding]:
    """Run one check in a thread of its own: a file system that hangs would else hang the command."""
    found: list[list[Finding]] = []
    site.begin(check.limit_s)
    thread = threading.Thread(target=lambda: found.append(_look(check, site)), name="check", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    if found:
        return found[0]
    site.abandon()
    return [
        fail(
            f"no answer for {check.limit_s:g} s",
            "a mount that hangs: `findmnt`, `dmesg`; a server that hangs: `select * from pg_stat_activity`",
        )
    ]


def _failed(exc: OmnicdcError, site: Site) -> Finding:
    if site.lacks_rights and isinstance(exc.__cause__, errors.InsufficientPrivilege):
        return Finding("skipped", f"{exc.message}: see `rights`")
    return fail(exc.message, exc.hint)


def _look(check: Check, site: Site) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in check.look(site):
            found.append(finding)  # noqa: PERF402 - what was found before an error is kept
    except Skipped as exc:
        found.append(Finding("skipped", str(exc)))
    except OmnicdcError as exc:
        found.append(_failed(exc, site))
    except PermissionError as exc:
        found.append(Finding("skipped", f"needs the right to read {exc.filename}: ask as root"))
    except Exception as exc:  # noqa: BLE001 - whatever one check raises, the others are made
        found.append(fail(f"the check itself failed: {type(exc).__name__}: {exc}", "please report it"))
    return found or [Finding("skipped", "nothing to look at")]

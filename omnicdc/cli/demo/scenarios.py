"""The eight acts of the demo. Each changes CMP or a file, and checks claims about the effect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.cli.demo import fixtures
from omnicdc.cli.demo.fixtures import upsert
from omnicdc.cli.demo.observer import PATIENCE_S, Transaction, check, difference, token_of
from omnicdc.cli.demo.output import Act, Check
from omnicdc.registries.scanners import scanners
from omnicdc.testing import cmp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.cli.demo.observer import File, Observer


def write_arrives(observer: Observer) -> Act:
    """Insert a project."""
    seen = observer.transact(lambda conn: upsert(conn, fixtures.NEW))
    return Act(
        "A write arrives",
        f"Genesis inserts the project {fixtures.NEW['name']} into CMP, commits, and waits for that "
        f"transaction.",
        (
            Check("omnicdc's log has one row for it", seen.logged == ("insert",)),
            Check("all three registries were rewritten, in one generation", _rewrote_all(seen)),
            Check("each holds what CMP has, and nothing else", observer.verify_all()),
        ),
        (seen,),
        tuple(line for lines in seen.changes.values() for line in lines),
    )


def no_op(observer: Observer) -> Act:
    """Upsert the same project again, so that only `updated_at` changes."""
    seen = observer.transact(lambda conn: upsert(conn, fixtures.NEW))
    return Act(
        "A no-op does not",
        "Genesis upserts the same values again; only updated_at changes, which no registry shows.",
        (
            Check("omnicdc's log has no row for it", not seen.logged),
            Check("the wait ends with nothing_to_do", seen.verdict.status == "nothing_to_do"),
            _untouched(seen),
        ),
        (seen,),
    )


def rollback(observer: Observer) -> Act:
    """Delete everything, and roll back."""
    seen = observer.transact(lambda conn: conn.execute("delete from projects"), roll_back=True)
    return Act(
        "A rollback",
        "Genesis deletes all projects, and rolls that transaction back.",
        (
            Check("omnicdc's log has no row: it was rolled back as well", not seen.logged),
            Check("the wait ends with rolled_back, and not with a "
                  "timeout", seen.verdict.status == "rolled_back"),
            _untouched(seen),
        ),
        (seen,),
    )  # fmt: skip


def hostile_names(observer: Observer) -> Act:
    """Insert names that a parser or a terminal may misread."""
    wanted = {project["id"]: project["name"] for project in fixtures.HOSTILE}
    seen = observer.transact(lambda conn: upsert(conn, *fixtures.HOSTILE))
    files = observer.files()
    return Act(
        "Names that are traps",
        f"Genesis inserts {len(wanted)} projects in one transaction. Each line shows a name as the YAML "
        f"file has it.",
        (
            Check("JSON parsers read every name as CMP has "
                  "it", wanted.items() <= _names(files, "cmp_projects", "name").items()),
            Check("so do parsers of YAML 1.1 and of YAML "
                  "1.2", wanted.items() <= _names(files, "project", "display_name").items()),
        ),
        (seen,),
        tuple(line for lines in seen.changes.values() for line in lines if "display_name:" in line),
    )  # fmt: skip


def late_commit(observer: Observer) -> Act:
    """Commit a transaction after a later one was published."""
    with db.connect(observer.box.dsn(cmp.WRITER)) as conn:
        with conn.transaction():
            token = token_of(conn)
            upsert(conn, fixtures.LATE)
            second = observer.transact(lambda other: upsert(other, fixtures.EARLY))
            before = observer.files()
        first = observer.follow(token, before)
    hidden = fixtures.LATE["id"].encode() not in before["cmp_projects"][1]
    return Act(
        "A late commit",
        f"Transaction {token} writes and stays open, {second.token} writes and commits; then {token} "
        f"commits.",
        (
            Check(f"{second.token} was published without waiting for "
                  f"{token}", _rewrote_all(second) and hidden),
            Check(f"a reader that keeps the highest number would miss "
                  f"{token}", int(token) < int(second.token)),
            Check("omnicdc keeps a snapshot, and published it", _rewrote_all(first)),
        ),
        (second, first),
    )  # fmt: skip


def edited_file(observer: Observer) -> Act:
    """Edit a registry file as editors do: replace it by a new file."""
    path = observer.box.root / scanners()["project"].path
    before = observer.files()
    edited = before["project"][1].replace(b": Atlas Gateway\n", b": Edited by hand\n")
    draft = path.with_name("draft")
    draft.write_bytes(edited)
    draft.replace(path)
    began = time.monotonic()
    while path.read_bytes() == edited and time.monotonic() < began + PATIENCE_S:
        check(observer.stop)
        observer.stop.wait(0.01)
    seconds, after = time.monotonic() - began, observer.files()
    backups = list(observer.config.state_dir.glob(f"drift/{path.name}.*"))
    return Act(
        "An edited file",
        f"A person changes a name in {path.name}; the daemon looks at its files every "
        f"{observer.config.poll_s} s.",
        (
            Check(
                "the file holds again what CMP has",
                after["project"][1] != edited and observer.verify_all(),
            ),
            Check("the edited version was backed up", [it.read_bytes() for it in backups] == [edited]),
            Check("the other files were not touched", before | {"project": after["project"]} == after),
        ),
        lines=(
            f"restored after {seconds:.2f} s; backup: {', '.join(map(str, backups))}",
            *difference("project", edited, after["project"][1]),
        ),
    )  # fmt: skip


def mass_delete(observer: Observer) -> Act:
    """Delete most projects, and accept what the guard holds."""
    held = observer.transact(lambda conn: conn.execute(fixtures.DELETE_MOST))
    accepted = observer.transact(lambda conn: db.fetch_one(conn, "request_accept"), observer.operator)
    return Act(
        "A mass delete",
        "Genesis deletes most projects; "
        "the guard holds the registries until an operator runs `omnicdc accept`.",
        (
            Check(
                "the wait ends with held, for all three registries",
                held.verdict.status == "held" and len(held.verdict.withheld) == len(observer.files()),
            ),
            _untouched(held),
            Check("once accepted, all three were rewritten, in one generation", _rewrote_all(accepted)),
            Check("each holds what CMP has, and nothing else", observer.verify_all()),
        ),
        (held, accepted),
    )  # fmt: skip


def show_status(observer: Observer) -> Act:
    """Query the status."""
    found = status(observer.operator, max_lag_s=observer.config.max_lag_s)
    [consumer] = found["consumers"]
    return Act(
        "The status",
        "An operator runs `omnicdc status`.",
        (
            Check("it reports no fault", found["healthy"] and not found["faults"]),
            Check("the daemon is alive", consumer["alive"]),
            Check("nothing is held back", not consumer["held"] and not consumer["quarantined"]),
        ),
        lines=(
            *(
                f"capture: {name}, table {it['table']} ({', '.join(it['watched'])})"
                for name, it in found["capture"]["sources"].items()
            ),
            (f"consumer: {consumer['name']}, generation {consumer['generation']}, {consumer['behind']} "
            f"changes behind"),
            *found["faults"],
        ),
    )  # fmt: skip


REGISTRIES = 3
"""The registries of projects. The demo's CMP has no table `agents`."""

ACTS = (write_arrives, no_op, rollback, hostile_names, late_commit, edited_file, mass_delete, show_status)


def _rewrote_all(seen: Transaction) -> bool:
    """Return True if one generation rewrote all registries, according to the verdict and to the files."""
    return len(seen.verdict.registries) == REGISTRIES and {*seen.verdict.registries} == {*seen.changes}


def _untouched(seen: Transaction) -> Check:
    return Check("no file was touched: inodes and times are the same", not seen.changes)


def _names(files: Mapping[str, File], scanner: str, field: str) -> dict[str, object]:
    """Parse a whole registry file. Return project id to the value of a field."""
    layout = scanners()[scanner].layout
    return {item.entry_key: item.fields.get(field) for item in layout.items(layout.parse(files[scanner][1]))}

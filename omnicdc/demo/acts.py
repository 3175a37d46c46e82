"""The acts: what Genesis does to CMP, and what must then be true. Each is told by its checks."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from omnicdc import db
from omnicdc.demo import cast, readers
from omnicdc.demo.report import Act, Check, Table, Take, cut, harmless, shown
from omnicdc.demo.witness import upsert

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.db import Connection
    from omnicdc.demo.scene import Scene
    from omnicdc.demo.witness import Seen

CANONICAL = "canonical_projects_uuids.json"
PROJECT = "PROJECT_REGISTRY_V1.yaml"
INVENTORY = "repo_inventory.json"
ALL = (CANONICAL, PROJECT, INVENTORY)

EXCLUDED = frozenset({"Legacy Importer"})
WRITES = 40
NAME = 28


def newcomer(scene: Scene) -> Act:
    """Upsert a project that is not there yet."""
    project = cast.NEWCOMER
    seen = scene.witness.transact(upsert(project))
    paths = scene.witness.paths
    held = [
        readers.canonical(paths).get(project.id, {}).get("name") == project.name,
        *(readers.projects(paths, read).get(project.id, {}).get("display_name") == project.name
          for read in readers.yaml_readers().values()),
        project.id in readers.inventory(paths),
    ]  # fmt: skip
    return Act(
        "A new project, by nothing but an UPSERT",
        (Take(f"upsert {project.name}, {project.metadata['github_url']}", seen),),
        (
            Check("one row in the log: the whole project is new", _ops(seen) == [(1, "insert", None)]),
            Check("all three registries were rewritten, in one generation", scene.follows(seen) and seen.rewritten == ALL),
            Check("each of them holds it by the time that wait() says so", all(held)),
            scene.verified(project.id),
        ),
    )  # fmt: skip


def again(scene: Scene) -> Act:
    """Upsert the same once more: only `updated_at` moves."""
    seen = scene.witness.transact(upsert(cast.NEWCOMER))
    moved = scene.witness.writer.execute(
        "select updated_at > created_at as moved from projects where id = %s", [cast.NEWCOMER.id]
    ).fetchone()
    return Act(
        "The same UPSERT again",
        (Take(f"upsert {cast.NEWCOMER.name}, as it is", seen),),
        (
            Check("CMP's updated_at moved, and no registry shows that", bool(moved and moved["moved"])),
            Check("the log has no row of it: there is nothing to wake the daemon for", not seen.noted),
            Check("wait() knows at once that there is nothing to wait for", seen.verdict.status == "nothing_to_do"),
            _untouched(seen),
        ),
    )  # fmt: skip


def retirement(scene: Scene) -> Act:
    """Change a status, which two of three registries show."""
    project = dataclasses.replace(cast.NEWCOMER, status="archived")
    seen = scene.witness.transact(upsert(project))
    return Act(
        "A change of status",
        (Take(f"upsert {project.name}, now archived", seen),),
        (
            Check("the log names the one field that changed", _ops(seen) == [(1, "update", ("status",))]),
            Check("git was not scanned: its registry shows no status", seen.scanners == ("cmp_projects", "project")),
            Check("two registries were rewritten; the inventory was not touched", seen.rewritten == (CANONICAL, PROJECT)),
            Check("it is the very next generation: the UPSERT before it published nothing", scene.follows(seen)),
        ),
    )  # fmt: skip


def second_thoughts(scene: Scene) -> Act:
    """Delete everything, and roll back."""
    gone: list[int] = []
    seen = scene.witness.give_up(lambda conn: gone.append(conn.execute("delete from projects").rowcount))
    return Act(
        "Second thoughts",
        (Take(f"delete all {gone[0]} projects, then ROLLBACK", seen),),
        (
            Check("the log kept nothing: it was written, and rolled back, with the rows", not seen.noted),
            Check("wait() says rolled_back, and not that it timed out", seen.verdict.status == "rolled_back"),
            _untouched(seen),
        ),
    )


def hostile(scene: Scene) -> Act:
    """Upsert names that are something else to a parser, or to a terminal."""

    def work(conn: Connection) -> None:
        for project in cast.HOSTILE:
            upsert(project)(conn)

    seen = scene.witness.transact(work)
    read = readers.names(scene.witness.paths)
    alike = {
        project.id: [names.get(project.id) == project.name for names in read.values()]
        for project in cast.HOSTILE
    }
    written = readers.as_written(scene.witness.paths)
    return Act(
        "Names that are traps",
        (
            Take(
                f"upsert {len(alike)} projects with the names below, in one transaction", seen, in_full=False
            ),
        ),
        (
            Check("one transaction, one generation", scene.follows(seen)),
            *(
                Check(f"{reader} gives back every name exactly", all(row[column] for row in alike.values()))
                for column, reader in enumerate(read)
            ),
        ),
        Table(
            ("name in CMP", "in the YAML", *(reader.split(" (", 1)[0] for reader in read)),
            tuple(
                (
                    shown(one.name, NAME),
                    cut(harmless(written.get(one.id, "-")), NAME),
                    *map(_mark, alike[one.id]),
                )
                for one in cast.HOSTILE
            ),
        ),
    )


def latecomer(scene: Scene) -> Act:
    """Commit a transaction after a younger one has long been published."""
    witness, late = scene.witness, cast.LATECOMER
    with db.connect(scene.home.dsn(cast.WRITER)) as slow:
        with slow.transaction():
            token = witness.token(slow)
            upsert(late)(slow)
            fast = witness.transact(upsert(cast.OVERTAKER))
            early = late.id in readers.canonical(witness.paths)
            before = witness.look()
        seen = witness.follow(token, before)
    return Act(
        "The hare and the tortoise: a late commit",
        (
            Take(f"transaction {token} upserts {late.name} and stays open; {fast.token} upserts Hare", fast, in_full=False),
            Take(f"transaction {token} commits at last", seen, in_full=False),
        ),
        (
            Check("the hare did not wait for the tortoise", scene.follows(fast) and not early),
            Check("the tortoise's number is lower: whoever remembers the last one read would miss it", int(token) < int(fast.token)),
            Check("omnicdc remembers the snapshot, and published it", scene.follows(seen) and seen.rewritten == ALL),
        ),
    )  # fmt: skip


def farewell(scene: Scene) -> Act:
    """Delete a project."""
    uuid = cast.NEWCOMER.id
    seen = scene.witness.transact(lambda conn: conn.execute("delete from projects where id = %s", [uuid]))
    found = [name for name, path in scene.witness.paths.items() if uuid.encode() in path.read_bytes()]
    return Act(
        "A project leaves",
        (Take(f"delete {cast.NEWCOMER.name}", seen, in_full=False),),
        (
            Check("its id is in no registry any more", not found and seen.rewritten == ALL),
            scene.gone(uuid),
        ),
    )


def routine(scene: Scene) -> Act:
    """Write many times, one after another, and wait for each; every write concerns all three registries."""

    def work(number: int) -> Callable[[Connection], object]:
        moved = f"https://github.com/meridian-labs/cartographer-{number}"
        original = next(one for one in cast.ORDINARY if one.name == "Cartographer")
        return upsert(dataclasses.replace(original, metadata={**original.metadata, "github_url": moved}))

    took = sorted(scene.witness.time(work(number)) for number in range(WRITES))
    figures = {
        "median_ms": statistics.median(took),
        "p95_ms": took[int(WRITES * 0.95) - 1],
        "worst_ms": took[-1],
    }
    left = readers.differences(readers.rows(scene.witness.writer), scene.witness.paths, EXCLUDED)
    return Act(
        f"{WRITES} more writes, each to all three registries",
        (),
        (
            Check(
                "at the end every row of CMP equals what each reader finds in each registry"
                + (f"; but {shown(left[0], 200)}" if left else ""),
                not left,
            ),
        ),
        figures={name: round(value, 2) for name, value in figures.items()},
    )


ACTS = (newcomer, again, retirement, second_thoughts, hostile, latecomer, farewell, routine)


def _ops(seen: Seen) -> list[tuple[int, str, tuple[str, ...] | None]]:
    return [(one.rows, one.op, one.fields) for one in seen.noted]


def _untouched(seen: Seen) -> Check:
    return Check("no file was touched: same inodes, same times", not seen.rewritten)


def _mark(holds: bool) -> str:
    return "the same" if holds else "ANOTHER"

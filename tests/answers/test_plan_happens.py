"""What `omnicdc plan` shows is what happens: the same statement, executed, changes the files exactly so."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

import pytest
from support.agents import AGENTS, add_agent, declare
from support.host import Host
from support.rebuild import barrier

from omnicdc import db
from omnicdc.answers.plan.rendering import Rendering
from omnicdc.answers.plan.statement import statements_of
from omnicdc.answers.plan.trial import rolled_back, run
from omnicdc.capture.watch_list import derive
from omnicdc.files.drift import stamp_of
from omnicdc.filesystem.atomic import no_observer
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, used
from omnicdc.verify import known_inputs
from omnicdc.verify.difference import unified, versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp
    from support.evidence import Scale

    from omnicdc.registries.projection import Projection
    from omnicdc.registries.scanner import Scanner

ATLAS, BOREAS, NEW, MOVED = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 5))
PROJECTS = 12

TRIGGER: LiteralString = """
create function follow() returns trigger language plpgsql as $$
begin
  update agents set role = new.status where project_id = new.id;
  return null;
end $$;
create trigger follow after update of status on projects for each row execute function follow();
"""
"""A trigger of CMP's own, which changes another table."""

STATEMENTS: tuple[tuple[LiteralString, set[str]], ...] = (
    (
        f"""insert into projects (id, name, status, metadata_)
            values ('{NEW}', 'a "new" one', 'active', '{{"github_url": "https://github.com/acme/new"}}')""",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json", "teams.json",
         "upstreams.conf"},
    ),
    (
        f"update projects set name = 'zeta' where id = '{ATLAS}'",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "teams.json", "upstreams.conf",
         "targets.json"},
    ),
    (
        f"update projects set key = 'K', type = 'library' where id = '{BOREAS}'",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"},
    ),
    (
        f"update projects set status = 'retired' where id = '{ATLAS}'",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "upstreams.conf",
         "canonical_agents_uuids.json"},
    ),
    (
        f"""update projects set metadata_ = metadata_ || '{{"github_url": "https://github.com/other/b"}}'
             where id = '{BOREAS}'""",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json"},
    ),
    (
        f"""update projects
               set metadata_ = jsonb_set(metadata_, '{{github_url}}', '"git@github.com:acme/secret"')
             where id = '{BOREAS}'""",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json"},
    ),
    (
        f"""insert into projects (id, name) values ('{BOREAS}', 'boreas') on conflict (id) do update
               set metadata_ = projects.metadata_ - 'github_url';
            with gone as (delete from projects where id = '{NEW}' returning *)
            insert into agents (id, name, kind) select id, name, status from gone;
            merge into projects p using agents a on a.project_id = p.id
             when matched then update set name = p.name || a.name;""",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "repo_inventory.json", "teams.json",
         "upstreams.conf", "targets.json", "canonical_agents_uuids.json", "agents.csv"},
    ),
    (
        f"update projects set id = '{MOVED}' where id = '{BOREAS}'",
        {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "teams.json"},
    ),
    (f"update projects set name = null where id = '{MOVED}'",
     {"canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml", "teams.json", "upstreams.conf"}),
    (f"update projects set updated_at = now(), status = status where id = '{ATLAS}'", set()),
    ("truncate agents",
     {"canonical_agents_uuids.json", "agents.csv", "teams.json", "targets.json"}),
)  # fmt: skip


KEYLESS = {"upstreams.conf", "targets.json"}
"""Their entries do not show their keys, which a plan knows: its diff pairs the entries better."""


@pytest.fixture
def estate(bare: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A host with agents, four declared registries and an exclusion; a CMP with a trigger of its own."""
    bare.conn.execute(AGENTS)
    bare.conn.execute("alter table projects alter name drop not null")
    bare.conn.execute(TRIGGER)
    host = Host(tmp_path / "host", bare.dsn)
    host.env |= declare(tmp_path)
    exclusions = host.root / "governance/registry/projects/EXCLUSION_LIST_V1.yaml"
    exclusions.parent.mkdir(parents=True)
    exclusions.write_text("exclusions: [{repo: secret}]\n")
    host.ask("install")
    bare.fill(PROJECTS)
    bare.upsert("atlas", id=ATLAS, status="active", github_url="https://github.com/acme/atlas")
    bare.upsert("boreas", id=BOREAS, status="active", github_url="https://github.com/acme/boreas")
    add_agent(bare, "ada", project_id=ATLAS)
    yield host
    host.close()


def files(host: Host, scanners: dict[str, Scanner]) -> dict[str, bytes]:
    return {name: (host.root / it.path).read_bytes() for name, it in scanners.items()}


def rendered(host: Host, scanners: dict[str, Scanner], sql: str) -> dict[str, Projection]:
    """Return what a plan of the statements renders, of the registries that it reads by key."""
    config = host.config()
    with db.connect(config.target) as conn, rolled_back(conn):
        tables = find_tables(conn, config, scanners.values())
        inputs, _ = known_inputs(config)
        here = Rendering(conn, scanners, tables, derive(scanners.values()), inputs, no_observer)
        before = here.before()
        run(conn, statements_of(sql), 60.0)
        here.effects(before, here.touched())
    by_key = () if sql.startswith("truncate") else before
    return {name: before[name].projection for name in by_key if len(scanners[name].sources) == 1}


def diff_of(registry: str, shown: str) -> str:
    """Return the diff of one registry from a plan as text."""
    _, _, after = shown.partition(f"\n--- {registry}, now\n")
    lines = f"--- {registry}, now\n{after}".splitlines()
    return "\n".join(takewhile(lambda line: line[:1] in ("-", "+", "@", " ", "#"), lines))


def changed_lines(diff: str) -> list[str]:
    return sorted(line for line in diff.splitlines() if line[:1] in ("-", "+"))


def test_the_diff_of_a_plan_is_the_change_of_the_files_byte_for_byte(
    bare: Cmp, estate: Host, scale: Scale
) -> None:
    estate.daemon()
    barrier(bare, estate)
    config = estate.config()
    with db.connect(config.target) as conn:
        known = registries(config)
        scanners = used(known, find_tables(conn, config, known.values()))

    for sql, changed in STATEMENTS[: scale(5, len(STATEMENTS))]:
        before = files(estate, scanners)
        planned = estate.run("plan", sql, "-o", "text", "--exit-code")
        assert planned.returncode == (1 if changed else 0), planned.stderr
        assert files(estate, scanners) == before
        here = rendered(estate, scanners, sql)

        bare.conn.execute(sql)
        barrier(bare, estate)
        after = files(estate, scanners)
        diffs = {
            it.registry: "\n".join(
                unified(versions(it.registry, it.layout, before[name], after[name]), None, ("now", "then"))
            )
            for name, it in scanners.items()
            if before[name] != after[name]
        }

        assert diffs.keys() == changed, sql
        assert {*re.findall("^--- (.*), now$", planned.stdout, re.MULTILINE)} == changed, sql
        for name, projection in here.items():
            stamp = stamp_of(after[name], projection.scanner.layout)
            whole = b"".join(projection.document.parts(projection.frame(stamp)))
            assert whole == after[name], (name, sql)
        for registry, diff in diffs.items():
            shown = diff_of(registry, planned.stdout)
            if registry in KEYLESS:
                assert changed_lines(shown) == changed_lines(diff)
            else:
                assert shown == diff

    mass_delete = f"delete from projects where id <> '{ATLAS}'"
    guarded = estate.ask("plan", mass_delete)["registries"]
    bare.conn.execute(mass_delete)

    assert bare.wait().status == "held"
    assert {*bare.consumer("host")["held"]} == {name for name, it in guarded.items() if it["guard"]}

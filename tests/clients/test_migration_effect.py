"""A plan renders again only what the changes concern, and finds exactly what a full rendering finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.agents import AGENTS, add_agent, declare
from support.host import Host
from support.strategies import IDS, REPOSITORIES, values

from omnicdc import db
from omnicdc.answers.plan.rendering import Rendering, effect
from omnicdc.capture.watch_list import derive
from omnicdc.clients.migration import MigrationClient
from omnicdc.clients.migration.changes import Change
from omnicdc.clients.migration.rows import read_table, update
from omnicdc.filesystem.atomic import no_observer
from omnicdc.model import Inputs
from omnicdc.registries.catalog import registries
from omnicdc.registries.tables import find_tables, used

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import LiteralString

    from support.cmp import Cmp

    from omnicdc.answers.plan.effect import Rendered
    from omnicdc.config.settings import Config

CASCADE: LiteralString = """
create function cascade() returns trigger language plpgsql as $$
begin
  update projects set status = 'cascaded' where name = new.key and status is distinct from 'cascaded';
  update agents set role = new.status where name = 'ada' and new.status is not null;
  return null;
end $$;
create trigger cascade after update on projects for each row execute function cascade();
"""
"""A trigger of CMP's own: a change of one project changes another one, and an agent."""

BY_KEY = ("cmp_projects", "project", "git", "upstreams")
"""The scanners that are brought up to date by the keys of the changed projects."""

MOST = 5
"""The number of entries whose content an effect holds."""

ROW = """
insert into projects (id, name, key, type, status, metadata_) values (%(id)s, %(name)s, %(key)s, %(type)s,
       %(status)s, %(metadata_)s::jsonb)
"""

new_values = values.map(lambda row: {name: row[name] for name in sorted(row)})
changes = st.dictionaries(st.sampled_from(IDS), new_values, max_size=4)
people = st.fixed_dictionaries(
    {"excluded": st.booleans(), "known": st.lists(st.sampled_from(REPOSITORIES), max_size=3)}
)


@pytest.fixture
def estate(bare: Cmp, tmp_path: Path) -> Iterator[Host]:
    """A host with agents and four declared registries, and a CMP with a trigger of its own."""
    bare.conn.execute(AGENTS)
    bare.conn.execute(CASCADE)
    host = Host(tmp_path / "host", bare.dsn)
    host.env |= declare(tmp_path)
    host.ask("install")
    add_agent(bare, "ada", project_id=IDS[0])
    yield host
    host.close()


def rendering(conn: db.Connection, config: Config, inputs: Inputs) -> Rendering:
    known = registries(config)
    tables = find_tables(conn, config, known.values())
    scanners = used(known, tables)
    return Rendering(conn, scanners, tables, derive(scanners.values()), inputs, no_observer, MOST)


def contents(rendered: Mapping[str, Rendered]) -> dict[str, tuple[list[tuple[str, bytes]], dict[str, str]]]:
    return {
        name: ([*it.projection.document.entries()], it.projection.quarantined_projects())
        for name, it in rendered.items()
        if name in BY_KEY
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.lists(new_values, max_size=8), wanted=changes, given_by_people=people)
def test_what_is_rendered_again_is_what_a_full_rendering_gives(
    estate: Host,
    before: list[dict[str, Any]],
    wanted: dict[str, dict[str, Any]],
    given_by_people: dict[str, Any],
) -> None:
    inputs = Inputs(
        excluded=frozenset({"a"}) if given_by_people["excluded"] else frozenset(),
        repositories={
            f"https://github.com/{name.lower()}": {"name": name, "url": f"https://github.com/{name}"}
            for name in given_by_people["known"]
        },
    )
    config = estate.config()
    with db.connect(config.target) as conn, conn.transaction(force_rollback=True):
        for uuid, row in zip(IDS, before, strict=False):
            conn.execute(ROW, row | {"id": uuid, "metadata_": json.dumps(row["metadata_"])})
        conn.execute("delete from omnicdc.change")
        here = rendering(conn, config, inputs)
        keyed, full = here.before(), here.before()
        update(conn, read_table(conn, "projects"), [Change(uuid, row) for uuid, row in wanted.items()])
        found = here.effects(keyed, here.touched())
        after = here.before()

    assert found == [effect(full[name], after[name], MOST) for name in full]
    assert contents(keyed) == contents(after)


def test_the_changes_of_triggers_of_cmp_are_in_the_plan(bare: Cmp, estate: Host) -> None:
    atlas, boreas = (
        bare.upsert("atlas", key="boreas", status="active"),
        bare.upsert("boreas", status="active"),
    )
    with MigrationClient(config=estate.config()) as client:
        plan = client.plan([{"uuid": atlas, "set": {"status": "archived"}}])

    assert plan["registries"]["canonical_projects_uuids.json"]["changed"] == 2
    assert plan["registries"]["canonical_agents_uuids.json"]["changed"] == 1
    assert "agents.csv" not in plan["registries"]
    assert bare.value("select status from projects where id = %s", boreas) == "active"


@pytest.mark.parametrize("broken", ["alter table projects disable trigger user", "drop table agents"])
def test_without_a_working_capture_everything_is_rendered_again(
    bare: Cmp, estate: Host, broken: LiteralString
) -> None:
    atlas = bare.upsert("atlas", status="active")
    bare.conn.execute("drop trigger cascade on projects")
    bare.conn.execute(broken)
    with MigrationClient(config=estate.config()) as client:
        plan = client.plan([{"uuid": atlas, "set": {"status": "archived"}}])

    assert plan["registries"]["canonical_projects_uuids.json"]["changed"] == 1


def test_a_deferred_constraint_refuses_in_the_plan_already(bare: Cmp, estate: Host) -> None:
    bare.conn.execute("alter table projects add unique (name) deferrable initially deferred")
    atlas = bare.upsert("atlas")
    bare.upsert("boreas")
    with MigrationClient(config=estate.config()) as client:
        plan = client.plan([{"uuid": atlas, "set": {"name": "boreas"}}])

    assert [it["kind"] for it in plan["conflicts"]] == ["duplicate_name", "refused"]

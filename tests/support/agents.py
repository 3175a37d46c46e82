"""CMP's table `agents`, and declared registries that join it with `projects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    import psycopg

    from support.cmp import Cmp

AGENTS: LiteralString = """
create table agents (
  id uuid primary key default gen_random_uuid(),
  name text, kind text, role text, project_id uuid, metadata_ jsonb
)
"""

REGISTRY = "governance/registry/uuid/canonical_agents_uuids.json"

DECLARED = """
registries:
  - name: teams
    path: governance/registry/teams.json
    query: |
      select p.id, p.name, json_agg(a.name order by a.name) filter (where a.id is not null) as agents
        from projects p left join agents a on a.project_id = p.id
       group by p.id
    format: json
    header: {version: "1.0.0", count: "{count}", generated_at: "{generated_at}"}
    entries: teams
    sort: [name]
  - name: agents_csv
    path: exports/agents.csv
    query: select id, name, kind from agents
    format: csv
    sort: [name]
  - name: upstreams
    path: nginx/upstreams.conf
    query: |
      select id, name, status
        from projects
       where status is distinct from 'retired'
    format: lines
    header: |
      # {{ count }} projects
      map $host $project {
    entry: '  {{ name | json }} {{ status | default("unknown", true) }};'
    footer: "}"
  - name: targets
    path: prometheus/targets.json
    query: |
      select a.id, json_build_array(concat(a.name, ':9100')) as targets,
             json_build_object('project', p.name) as labels
        from agents a join projects p on p.id = a.project_id
    format: json-list
    entry: [targets, labels]
"""
"""Four declared registries: json by a join with an aggregate, csv, lines, and json-list by an inner join."""


TEAMS = "governance/registry/teams.json"
STAFF = "governance/registry/staff.csv"

MODELLED = f"""
registries:
  - name: teams
    path: {TEAMS}
    query: |
      select p.id, p.name, p.status, json_agg(a.name order by a.id) filter (where a.id is not null) as agents
        from projects p left join agents a on a.project_id = p.id
       group by p.id
    format: json
    header: {{count: "{{count}}"}}
    entries: teams
    sort: [name]
  - name: staff
    path: {STAFF}
    query: select a.id, a.name, p.name as project from agents a join projects p on p.id = a.project_id
    format: csv
"""
"""The declared registries of the model: two tables, an outer join with an aggregate, and an inner join."""


def add_agent(
    cmp: Cmp,
    name: str,
    *,
    conn: psycopg.Connection[tuple[Any, ...]] | None = None,
    **columns: str | None,
) -> str:
    """Insert an agent; return its id."""
    values = {"name": name, "kind": None, "role": None, "project_id": None, "metadata": "{}", **columns}
    row = (
        (conn or cmp.conn)
        .execute(
            "insert into agents (name, kind, role, project_id, metadata_) "
            "values (%(name)s, %(kind)s, %(role)s, %(project_id)s, %(metadata)s) returning id::text",
            values,
        )
        .fetchone()
    )
    assert row
    return str(row[0])


def declare(directory: Path, text: str = DECLARED) -> dict[str, str]:
    """Write a configuration file; return the variable that names it."""
    file = directory / "omnicdc.yaml"
    file.write_text(text)
    return {"OMNICDC_CONFIG": str(file)}

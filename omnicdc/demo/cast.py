"""Who plays: CMP's table, the projects of a small software house, and what its people wrote beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString

DATABASE = "cms_db"
WRITER = "genesis"
READER = "omnicdc"

ROLES: LiteralString = "create role genesis login; create role omnicdc login"

TABLE: LiteralString = """
create table projects (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  key text,
  type text,
  status text,
  metadata_ jsonb,
  description text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
grant select, insert, update, delete on projects to genesis
"""

GRANTS: LiteralString = "grant omnicdc_client to genesis; grant omnicdc_daemon, omnicdc_client to omnicdc"
"""Who writes needs no right to the log: the triggers note for everybody. To ask how a write fared needs one."""

UPSERT: LiteralString = """
insert into projects (id, name, key, type, status, metadata_, description)
     values (%(id)s, %(name)s, %(key)s, %(type)s, %(status)s, %(metadata)s::jsonb, %(description)s)
on conflict (id) do update
   set name = excluded.name, key = excluded.key, type = excluded.type, status = excluded.status,
       metadata_ = excluded.metadata_, description = excluded.description, updated_at = clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Project:
    """One row of CMP, as Genesis upserts it."""

    id: str
    name: str
    key: str | None = None
    type: str | None = "SERVICE"
    status: str | None = "active"
    metadata: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    description: str | None = None

    def values(self) -> dict[str, str | None]:
        """Return the parameters of UPSERT."""
        return {
            "id": self.id,
            "name": self.name,
            "key": self.key,
            "type": self.type,
            "status": self.status,
            "metadata": json.dumps(dict(self.metadata)),
            "description": self.description,
        }


def project(
    name: str,
    key: str | None,
    kind: str | None = "SERVICE",
    status: str | None = "active",
    description: str | None = None,
    **metadata: object,
) -> Project:
    """Make a project; its id follows from its name, so that every performance is alike."""
    identity = str(uuid5(NAMESPACE_URL, f"https://omnicdc.example/{name}"))
    return Project(identity, name, key, kind, status, MappingProxyType(metadata), description)


def _repo(name: str, owner: str = "meridian-labs") -> str:
    return f"https://github.com/{owner}/{name}"


ORDINARY = (
    project("Atlas Gateway", "atlas-gateway", description="The way in for all partners.", domain="platform",
            github_url=_repo("atlas-gateway")),
    project("Billing Core", "billing-core", domain="finance", github_url=_repo("billing-core")),
    project("Billing Reports", "billing-reports", "JOB", domain="finance", github_url=_repo("billing-core"),
            description="Lives in the repository of Billing Core."),
    project("Cartographer", "cartographer", "LIBRARY", domain="data", github_url=_repo("cartographer")),
    project("Customer Portal", "customer-portal", "APP", domain="web", github_url=_repo("customer-portal")),
    project("Design Tokens", "design-tokens", "LIBRARY", domain="web",
            github_url="git@github.com:meridian-labs/design-tokens.git"),
    project("Event Relay", "event-relay", domain="platform", github_url=_repo("event-relay") + "/"),
    project("Feature Flags", "feature-flags", domain="platform", github_url=_repo("Feature-Flags")),
    project("Identity Provider", "idp", domain="security", github_url=_repo("idp", "meridian-security")),
    project("Legacy Importer", "legacy-importer", "JOB", "deprecated", domain="data",
            github_url=_repo("legacy-importer")),
    project("Ledger Archive", "ledger-archive", "DATASET", "snapshot", domain="finance",
            github_url=_repo("ledger-archive")),
    project("Mobile App", "mobile-app", "APP", domain="mobile", github_url=_repo("mobile-app")),
    project("Notification Hub", "notification-hub", domain="platform", github_url=_repo("notification-hub")),
    project("Office Moves", "office-moves", "INITIATIVE", description="No repository: people and boxes."),
    project("Price Oracle", "price-oracle", "MODEL", "experimental", domain="data",
            github_url=_repo("price-oracle")),
    project("Search Index", "search-index", domain="data", github_url=_repo("search-index")),
    project("Vault Sync", "vault-sync", "JOB", domain="security",
            github_url="https://gitlab.com/meridian-security/vault-sync",
            description="Not on GitHub, so no place in the inventory."),
    project("Zephyr Forecasts", "zephyr", "MODEL", domain="data", github_url=_repo("zephyr", "zephyr-ml")),
)  # fmt: skip

AWKWARD = (
    project("no", "norway", domain="NO", description="YAML 1.1 takes it for false.",
            github_url=_repo("country-no")),
    project("012", None, None, None, description="A number to a careless reader; no key, type or status."),
    project("1e3", "1_000", github_url=4711, description="Its github_url is a number."),
    project('The "Quoted" One\'s: a #1 - really', "quoted", domain="a: b", github_url=_repo("quoted")),
    project("  blanks around  ", "~", domain="null"),
    project("Rocket \N{ROCKET} Überflieger 航", "rocket", "APP", domain="münchen", github_url=_repo("rocket")),
)  # fmt: skip

CAST = (*ORDINARY, *AWKWARD)

NEWCOMER = project(
    "Helios Telemetry", "helios-telemetry", domain="platform", github_url=_repo("helios-telemetry"),
    description="Counts what the others do.",
)  # fmt: skip
LATECOMER = project("Tortoise", "tortoise", "JOB", domain="data", github_url=_repo("tortoise"))
OVERTAKER = project("Hare", "hare", "JOB", domain="data", github_url=_repo("hare"))

HOSTILE = (
    project("null", "on", domain="off"),
    project("2024-01-01", "12:30:45", ".5", "="),
    project("- x: [y, {z}] # &a *b !c %d @e `f`", "<<", domain="%y"),
    project("\ttab, two\nlines\r\n, a trailing blank ", "lines"),
    project("\x1b[31mred\x07 \u2028 \x85 \ufeff \u202etfel-ot-thgir", "control"),
    project("'\"\\ \N{ROCKET} \N{EXTRATERRESTRIAL ALIEN} " + "long " * 60, "long"),
)

EXCLUSIONS = """\
# People write this file. A repository that stands here is left out of the project registry.
exclusions:
- repo: legacy-importer
"""

OVERRIDES = """\
# People write this file, too. What stands here wins over CMP, in the project registry.
overrides:
- github_url: https://github.com/meridian-labs/atlas-gateway
  local_paths: [/srv/workspaces/atlas-gateway]
  notes: Call the platform team before a deployment.
- github_url: git@github.com:meridian-labs/Search-Index.git
  status: frozen
"""

"""An estate to look at: two registry hosts, with a held registry, a quarantined project and hostile names.

`python -m ui.estate DIRECTORY` keeps it until Ctrl-C, for work on the page.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.host import until

from omnicdc import db
from omnicdc.answers.status import status
from omnicdc.cli.demo.fixtures import PROJECTS, Project, upsert
from omnicdc.delivery.wait import wait
from omnicdc.stop import Stop
from omnicdc.testing import cmp
from omnicdc.testing.databases import uri
from omnicdc.testing.process import isolate, start, stop_process
from omnicdc.testing.server import open_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omnicdc.testing.served import Served

HERE, THERE = "reg-eu-1", "reg-us-1"
"""The consumers. The page runs on the host of the first one."""

SCRIPT = "<script>document.title = 'taken over'</script>"
BIDI = "abc\u202egnp.exe"
LONG = "long " + "x" * 10_000
HOSTILE = (SCRIPT, BIDI, LONG, "'\"><img src=x onerror=alert(1)>")

DECLARED = {
    "name": "active_services",
    "path": "governance/registry/services/active.ndjson",
    "query": "select id, name, key, metadata_ ->> 'domain' as domain\n"
    "  from projects\n where status = 'active'",
    "format": "ndjson",
}

SETTINGS: Mapping[str, object] = {
    "consumer": HERE,
    "guard_share": 0.1,
    "guard_min": 5,
    "registries": [DECLARED],
    "poll_s": 0.5,
}


def service(number: int, **more: object) -> Project:
    """Return a project of the usual kind."""
    name = f"Team {number:02d} Service"
    metadata = {
        "domain": ("web", "data", "platform")[number % 3],
        "github_url": f"https://github.com/acme/team-{number:02d}",
    }
    return {
        "id": f"00000000-0000-4000-8000-{number:012d}", "name": name, "key": f"team-{number:02d}",
        "type": "SERVICE", "status": "active", "metadata": json.dumps(metadata | more),
    }  # fmt: skip


SERVICES = tuple(service(number) for number in range(60))


@dataclass(frozen=True, slots=True)
class Estate:
    """The estate, and the environment of commands on the first host."""

    served: Served
    environ: Mapping[str, str]
    ids: Mapping[str, str]
    """The name of a project to its id."""

    def execute(self, statement: str) -> None:
        """Execute SQL as the superuser."""
        with db.connect(self.served.admin_dsn) as conn:
            conn.execute(statement.encode())

    def write(self, *projects: Project) -> None:
        """Upsert projects in one transaction, and wait until both hosts have published them."""
        with db.connect(self.served.admin_dsn) as conn, conn.transaction():
            upsert(conn, *projects)
        self.published()

    def published(self) -> None:
        """Wait until both hosts have everything that is committed, except what is held."""
        with db.connect(self.served.admin_dsn) as conn:
            found = wait(conn, timeout_s=60, stop=Stop())
        assert found.status in {"published", "nothing_to_do", "held", "quarantined"}, found

    def has_both(self) -> bool:
        """Return whether both daemons serve."""
        with db.connect(self.served.admin_dsn) as conn:
            consumers: list[dict[str, object]] = status(conn)["consumers"]
        return [one["alive"] for one in consumers] == [True, True]

    def lose(self) -> None:
        """Delete a fifth of the projects: the guards of both hosts hold registries."""
        self.execute("delete from projects where name like 'Team 1%' or name like 'Team 2%'")

        def held() -> bool:
            with db.connect(self.served.admin_dsn) as conn:
                return all(one["held"] for one in status(conn)["consumers"])

        until(held, "the guards hold")

    def quarantine(self) -> None:
        """Make a project that the project registry cannot show."""
        self.execute("alter table projects alter name drop not null")
        self.execute(
            "insert into projects (id, name, key) values ('00000000-0000-4000-8000-00000000dead', null, null)"
        )
        self.published()


@contextmanager
def estate(directory: Path, dsn: str | None = None, *, hostile: bool = True) -> Iterator[Estate]:
    """Serve the estate. `dsn` leads to a server for tests; without one, the embedded server is started."""
    with ExitStack() as undo:
        server = undo.enter_context(open_server(directory, dsn))
        served = undo.enter_context(server.serve(cmp.TABLE, SETTINGS))
        environ = {
            name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}
        } | served.environ
        found = Estate(served, environ, {})
        there = _second_host(directory, served)
        process = start(there, directory / "second.log")
        undo.callback(stop_process, process)
        projects = [*PROJECTS, *SERVICES]
        if hostile:
            projects += [
                service(number, github_url="https://github.com/acme/x") | {"name": name}
                for number, name in enumerate(HOSTILE, 900)
            ]
        found.write(*projects)
        until(found.has_both, "both hosts serve")
        ids = {str(each["name"]): str(each["id"]) for each in projects}
        yield Estate(served, environ, ids)


def _second_host(directory: Path, served: Served) -> dict[str, str]:
    root = directory / "second"
    root.mkdir()
    environ = {**os.environ}
    isolate(environ)
    return environ | served.environ | {
        "OMNICDC_DSN": uri(served.dsn, user=cmp.DAEMON, password=cmp.DAEMON),
        "OMNICDC_ROOT": str(root),
        "OMNICDC_STATE_DIR": str(directory / "second-state"),
        "OMNICDC_CONSUMER": THERE,
    }  # fmt: skip


def main() -> None:
    """Keep an estate until Ctrl-C."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True)
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with estate(directory) as found:
        for step in sys.argv[2:]:
            getattr(found, step)()
        (directory / "info.json").write_text(
            json.dumps(
                {"dsn": found.served.dsn, "admin": found.served.admin_dsn, "env": found.served.environ}
            )
        )
        while not stop.requested:
            time.sleep(0.2)


if __name__ == "__main__":
    main()

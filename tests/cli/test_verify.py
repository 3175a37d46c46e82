"""If `omnicdc verify` can compare nothing, it ends with one line and exit status 2, without differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.session import publish

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People

COMMANDS = (["verify", "--all"], ["verify", "UUID"], ["rebuild", "--dry-run"])


def errors(host: Host, project: str, **env: str) -> set[str]:
    """Return the messages of the commands. Each is one line and the only output, with exit status 2."""
    found = set()
    for command in COMMANDS:
        done = host.run(*(project if word == "UUID" else word for word in command), **env)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        found.add(done.stderr)
    return found


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_is_no_directory_is_named(cmp: Cmp, host: Host, tmp_path: Path, kind: str) -> None:
    """Regression: every entry was reported as missing."""
    atlas, root = cmp.upsert("atlas"), tmp_path / "elsewhere"
    if kind == "file":
        root.touch()

    [message] = errors(host, atlas, OMNICDC_ROOT=str(root))
    explained = host.run("explain", "atlas", OMNICDC_ROOT=str(root))

    assert message.startswith(f"omnicdc: the infrastructure root {root} is not a directory - is it mounted?")
    assert (explained.returncode, explained.stderr) == (2, message)


def test_a_role_that_may_not_read_cmp_gets_the_grant_that_it_needs(
    cmp: Cmp, host: Host, people: People
) -> None:
    """Regression: each registry had the message, with the remedy for another fault; the exit status was 1."""
    atlas, role = cmp.upsert("atlas"), people.add()
    publish(host)

    [denied] = errors(host, atlas, OMNICDC_DSN=people.dsn(role))
    cmp.conn.execute("create schema closed; alter table projects set schema closed")
    [closed] = errors(host, atlas, OMNICDC_DSN=people.dsn(role), OMNICDC_TABLES="projects=closed.projects")

    assert denied.startswith(
        f"omnicdc: reading CMP: permission denied for table projects - `grant omnicdc_client to {role}` (omn"
    )
    assert closed.startswith("omnicdc: reading CMP: permission denied for schema closed - `grant ")


def test_a_dry_run_that_cannot_read_a_registry_does_not_say_that_nothing_would_change(
    cmp: Cmp, host: Host
) -> None:
    cmp.upsert("atlas")
    publish(host)
    cmp.conn.execute("alter table projects rename type to kind")

    done = host.run("rebuild", "--dry-run", "-o", "text")

    assert done.returncode == 1
    assert "nothing would change" not in done.stdout

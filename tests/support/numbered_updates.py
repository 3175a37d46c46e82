"""Projects that change in updates: each is one transaction that alters every entry of every registry.

So each file tells by itself which transaction it shows, and whether it shows all of it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import yaml

from omnicdc import db
from omnicdc.delivery.status import status
from omnicdc.filesystem.exchange import exchange
from support.host import REGISTRIES
from support.reader import look, statuses

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

PROJECTS = 40

WAVE = """
update projects
   set status = %(update)s,
       metadata_ = jsonb_build_object(
         'github_url', format('https://github.com/acme/%%s-%%s', %(update)s::text, key))
"""


class NumberedUpdates:
    """One CMP's updates, and what one host's files show of them."""

    def __init__(self, cmp: Cmp, host: Host, projects: int = PROJECTS) -> None:
        self.cmp = cmp
        self.host = host
        self.number = -1
        self._tokens: list[str] = []
        cmp.fill(projects)
        self.next()

    def next(self) -> str:
        """Commit the next update; returns its token."""
        self.number += 1
        with self.cmp.transaction() as (conn, token):
            conn.execute(WAVE, {"update": f"w{self.number:05}"})
        self._tokens.append(token)
        return token

    def shown(self, name: str, root: Path | None = None) -> int:
        """Return the update that a file shows; -1 if none can be reached. Fails for one that is not whole."""
        try:
            data = content((root or self.host.root) / name)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return -1
        look(name, data)
        [update] = {*statuses(name, data)}
        return int(update[1:])

    def behind(self) -> set[str]:
        """Return the registries whose files, which are whole, do not show the latest update."""
        return {name for name in REGISTRIES if self.shown(name) != self.number}

    def right(self) -> bool:
        """Whether plain files show the latest update, and nothing half written lies about."""
        try:
            behind = self.behind()
        except (OSError, ValueError, KeyError, AssertionError, yaml.YAMLError):
            return False  # what another hand put there
        plain = all(
            (self.host.root / name).is_file() and not (self.host.root / name).is_symlink()
            for name in REGISTRIES
        )
        return plain and not behind and not leftovers([self.host.root, self.host.state])

    def acknowledged(self) -> int:
        """Return the latest update that the files hold, as the consumer's row says; -1 if none."""
        return int(
            self.cmp.value(
                """select coalesce(max(number), 0) - 1
                     from unnest(%s::text[]) with ordinality as update (token, number), omnicdc.consumer
                    where name = %s and pg_visible_in_snapshot(token::xid8, snapshot)""",
                self._tokens, self.host.env["OMNICDC_CONSUMER"],
            )
        )  # fmt: skip

    def faults(self) -> str:
        """Return what `omnicdc status` names, without the start of a process."""
        with db.connect(self.cmp.dsn) as conn:
            return "\n".join(status(conn)["faults"])


def content(path: Path) -> bytes:
    """Return a file's bytes; a pipe is not waited for, and nothing but a file is read."""
    with open(path, "rb", opener=lambda it, flags: os.open(it, flags | os.O_NONBLOCK)) as file:
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode), "no file"
        return file.read()


def put_back(away: Path, place: Path) -> None:
    """Put a directory back in its place.

    At once, for the daemon makes a new one as soon as it is missing, and writes into it.
    """
    while True:
        with suppress(FileNotFoundError):
            place.lstat()
            directory = os.open("/", os.O_RDONLY)
            swapped = exchange(directory, str(place.absolute()), str(away.absolute()))
            os.close(directory)
            if swapped:
                away.unlink() if away.is_symlink() or away.is_file() else shutil.rmtree(away)
                return
        with suppress(OSError):
            away.rename(place)
            return


def leftovers(trees: Iterable[Path]) -> list[Path]:
    """Return the files that a writer of ours was not done with."""
    return [it for tree in trees for it in tree.rglob(".*.omnicdc-tmp")]

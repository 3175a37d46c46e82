"""Numbered updates of CMP: each is one transaction that changes every entry of every registry.

So each file alone shows which update it holds, and whether it holds all of it.
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
from omnicdc.answers.status import status
from omnicdc.filesystem.exchange import exchange
from support.host import REGISTRIES
from support.reader import look, statuses

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host

PROJECTS = 40

UPDATE = """
update projects
   set status = %(update)s,
       metadata_ = jsonb_build_object(
         'github_url', format('https://github.com/acme/%%s-%%s', %(update)s::text, key))
"""


class NumberedUpdates:
    """The updates of one CMP, and what the files of one host show of them."""

    def __init__(self, cmp: Cmp, host: Host, projects: int = PROJECTS) -> None:
        self.cmp = cmp
        self.host = host
        self.number = -1
        self._tokens: list[str] = []
        cmp.fill(projects)
        self.next()

    def next(self) -> str:
        """Commit the next update; return its token."""
        self.number += 1
        with self.cmp.transaction() as (conn, token):
            conn.execute(UPDATE, {"update": f"w{self.number:05}"})
        self._tokens.append(token)
        return token

    def shown(self, name: str, root: Path | None = None) -> int:
        """Return the update that a file shows; -1 if there is no file. Fail if the file is incomplete."""
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
        """Return the registries whose complete files do not show the latest update."""
        return {name for name in REGISTRIES if self.shown(name) != self.number}

    def right(self) -> bool:
        """Return whether regular files show the latest update, and no temporary file is left."""
        try:
            behind = self.behind()
        except (OSError, ValueError, KeyError, AssertionError, yaml.YAMLError):
            return False  # an external change
        regular = all(
            (self.host.root / name).is_file() and not (self.host.root / name).is_symlink()
            for name in REGISTRIES
        )
        return regular and not behind and not leftovers([self.host.root, self.host.state])

    def acknowledged(self) -> int:
        """Return the latest update that the consumer has acknowledged; -1 if none."""
        return int(
            self.cmp.value(
                """select coalesce(max(number), 0) - 1
                     from unnest(%s::text[]) with ordinality as update (token, number), omnicdc.consumer
                    where name = %s and pg_visible_in_snapshot(token::xid8, snapshot)""",
                self._tokens, self.host.env["OMNICDC_CONSUMER"],
            )
        )  # fmt: skip

    def faults(self) -> str:
        """Return the faults that `omnicdc status` shows, without a new process."""
        with db.connect(self.cmp.dsn) as conn:
            return "\n".join(status(conn)["faults"])


def content(path: Path) -> bytes:
    """Return the bytes of a regular file. Fail for anything else, without waiting for a pipe."""
    with open(path, "rb", opener=lambda it, flags: os.open(it, flags | os.O_NONBLOCK)) as file:
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode), "not a regular file"
        return file.read()


def put_back(moved: Path, place: Path) -> None:
    """Move a directory back to its place, in one step.

    The daemon makes a missing directory again at once, and writes into it.
    """
    while True:
        with suppress(FileNotFoundError):
            place.lstat()
            directory = os.open("/", os.O_RDONLY)
            swapped = exchange(directory, str(place.absolute()), str(moved.absolute()))
            os.close(directory)
            if swapped:
                moved.unlink() if moved.is_symlink() or moved.is_file() else shutil.rmtree(moved)
                return
        with suppress(OSError):
            moved.rename(place)
            return


def leftovers(trees: Iterable[Path]) -> list[Path]:
    """Return the temporary files that omnicdc has left."""
    return [it for tree in trees for it in tree.rglob(".*.omnicdc-tmp")]

"""A served CMP whose schema changes, shared by every test of this directory.

The rights are those of an installation. The daemon logs in as on a registry host, `wait` and `status` run as
in Genesis, and a role without rights on omnicdc writes CMP. Each test repairs the capture with the command
that `omnicdc status` names, word for word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.served_cmp import ServedCmp
from support.sessions import People

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cmp import Cmp
    from support.host import Host


@pytest.fixture
def served(cmp: Cmp, host: Host) -> Iterator[ServedCmp]:
    """CMP, its registry host, and three logins: the daemon, a client, a writer without omnicdc's rights."""
    people = People(cmp)
    yield ServedCmp(cmp, host, people)
    host.close()
    people.close()

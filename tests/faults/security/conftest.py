"""What several tests of security need: login roles, the owner of CMP's table, traps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.security.traps import Traps

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.sessions import People


@pytest.fixture
def owner(cmp: Cmp, people: People) -> str:
    """The name of the role that owns CMP's table. It may create types and functions."""
    name = people.add()
    cmp.conn.execute(
        f"alter table projects owner to {name}; grant create, usage on schema public to {name}".encode()
    )
    return name


@pytest.fixture
def traps(cmp: Cmp) -> Traps:
    """What the server's log reports about functions of another user."""
    return Traps(cmp)

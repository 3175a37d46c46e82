"""An estate for each test of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.estate import Estate

if TYPE_CHECKING:
    from support.cmp import Cmp
    from support.host import Host
    from support.sessions import People


@pytest.fixture
def estate(cmp: Cmp, host: Host, people: People) -> Estate:
    return Estate(cmp, host, people)

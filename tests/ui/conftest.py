"""One estate and one page for all tests of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ui.estate import Estate, estate
from ui.page import Page, page

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def served(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Two hosts, a quarantined project, and hostile names."""
    with estate(tmp_path_factory.mktemp("estate"), server) as found:
        found.quarantine()
        yield found


@pytest.fixture(scope="module")
def shown(served: Estate) -> Iterator[Page]:
    """The page of the estate's first host."""
    with page(served.environ) as found:
        yield found

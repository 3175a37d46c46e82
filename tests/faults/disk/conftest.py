"""What the tests of this directory share."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """Collects what must be undone on this machine, and undoes it in reverse order when the test ends."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount, or become another user")
    with ExitStack() as cleanup:
        yield cleanup

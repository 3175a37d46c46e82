"""A PostgreSQL server of its own for tests of the capture."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.memory import in_memory

from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def small_server() -> Iterator[str]:
    """A superuser's connection string to a separate cluster with the smallest NOTIFY queue.

    omnicdc was never installed in this cluster.
    """
    server = EmbeddedServer(
        Path(tempfile.mkdtemp(prefix="omnicdc-small-", dir=in_memory())),
        {"fsync": "off", "max_notify_queue_pages": "64"},
    )
    server.create()
    server.start()
    yield server.dsn()
    server.delete()

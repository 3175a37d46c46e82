"""One database for all that compares files with CMP.

The tables are emptied, and the files below a fresh root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.files import ROCKET, Files, fresh_files, own_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[str]:
    yield from own_database(server)


@pytest.fixture
def files(database: str, tmp_path: Path) -> Iterator[Files]:
    yield from fresh_files(database, tmp_path)


@pytest.fixture
def rocket(files: Files) -> str:
    """A project among others, published; its id."""
    files.cmp.fill(5)
    project = files.cmp.upsert("Rocket", key="rocket", domain="space", github_url=ROCKET)
    files.publish()
    return project

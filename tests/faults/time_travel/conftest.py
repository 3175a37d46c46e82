"""The two clusters that the tests copy, and one test's sandbox."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import psycopg
import pytest
from faults.time_travel.clusters import Cluster, Sandbox, shared_directory
from faults.time_travel.serving import PROJECTS
from support.cmp import TABLE
from support.sources import projects

from omnicdc import db
from omnicdc.capture import install
from omnicdc.testing.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def prepared() -> Iterator[Cluster]:
    """A stopped cluster with a CMP that has projects and the capture. It is made once, for all files."""
    directory = shared_directory()
    made = Cluster(directory / "cluster", directory / "cluster")
    made.create()
    made.start()
    with psycopg.connect(made.dsn("postgres"), autocommit=True) as admin:
        admin.execute("create database cmp")
    with made.cmp() as cmp, db.connect(made.dsn()) as conn:
        conn.execute(TABLE)
        install.install(conn, projects())
        cmp.fill(PROJECTS)
    made.stop()
    yield made
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def empty(prepared: Cluster) -> Iterator[Cluster]:
    """Another stopped cluster, without any database of ours. Its system identifier is its own."""
    directory = shared_directory()
    made = Cluster(directory / "cluster", directory / "cluster", prepared.programs)
    EmbeddedServer.create(made)  # by initdb: a copy would have the same system identifier
    yield made
    shutil.rmtree(directory)


@pytest.fixture
def sandbox(prepared: Cluster) -> Iterator[Sandbox]:
    """The clusters and the registry hosts of one test."""
    sandbox = Sandbox(shared_directory(), prepared)
    yield sandbox
    sandbox.close()

"""The files of a registry host, published from CMP as the daemon does, which a test then changes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from psycopg import sql as pgsql

from omnicdc import db, verify
from omnicdc.config.settings import Config
from omnicdc.db.conninfo import Target
from omnicdc.files.manifest import Manifest, describe, write_manifest
from omnicdc.model import Inputs
from omnicdc.registries.projection import Projection
from omnicdc.registries.rows import select
from support.cmp import TABLE, Cmp
from support.host import CANONICAL, INVENTORY, PROJECT
from support.sources import SCANNERS, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omnicdc.verify.report import AllReport, Check, Report

STAMP = "2026-11-22T20:59:55.573397+00:00"
ROCKET = "https://github.com/Acme/Rocket"
UNKNOWN_PROJECT = "00000000-0000-4000-8000-000000000000"

LAYOUTS: dict[str, Callable[[Any], str]] = {
    CANONICAL: lambda parsed: json.dumps(parsed, sort_keys=True),
    PROJECT: yaml.safe_dump,
    INVENTORY: lambda parsed: json.dumps(parsed, indent=1, ensure_ascii=True),
}


@dataclass
class Files:
    """The root of a registry host: published from CMP, then changed by a test."""

    cmp: Cmp
    conn: db.Connection
    root: Path
    inputs: Inputs = field(default_factory=Inputs)
    inputs_known: bool = True

    @property
    def config(self) -> Config:
        return Config(root=self.root, target=Target(dsn=self.cmp.dsn), state_dir=self.root / "state")

    def publish(self, *, manifest: bool = True) -> None:
        """Write every registry as the daemon does."""
        published = {}
        for scanner in SCANNERS.values():
            registry = Projection(scanner, self.inputs)
            registry.rebuild(select(self.conn, scanner, TABLES, None))
            document = registry.document
            frame = scanner.frame(len(document), document.counters, STAMP)
            put = self._put(scanner.path, b"".join(document.parts(frame)))
            published[scanner.path] = describe(document.digests(frame), put, len(document), STAMP)
        if manifest:
            write_manifest(self.root, Manifest("c", 1, "1:1:", datetime.now(UTC), published))

    def _put(self, registry: str, data: bytes) -> os.stat_result:
        """Replace a file as `publish.replace` does, without fsync."""
        path = self.root / registry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name("new").write_bytes(data)
        path.with_name("new").rename(path)
        return path.stat()

    def edit(self, registry: str, old: str, new: str) -> None:
        """Change the text of a file, as a user might."""
        path = self.root / registry
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")

    def parsed(self, registry: str) -> Any:  # noqa: ANN401 - whatever it holds
        data = (self.root / registry).read_bytes()
        return yaml.load(data, yaml.CSafeLoader) if registry == PROJECT else json.loads(data)

    def verify(self, project: str) -> Report:
        return verify.verify_project(self.conn, self.config, self.inputs, self.inputs_known, project)

    def statuses(self, project: str) -> list[str]:
        return [check.status for check in self.verify(project).checks]

    def check(self, registry: str, project: str) -> Check:
        [found] = [it for it in self.verify(project).checks if registry.endswith(it.registry)]
        return found

    def verify_all(self) -> AllReport:
        return verify.verify_all(self.conn, self.config, self.inputs, self.inputs_known)

    def details(self) -> list[str]:
        return [report.detail for report in self.verify_all().registries]


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[str]:
    """A database for one module of tests.

    Most of these tests need no capture, and it is faster to make a table than a database.
    """
    name = pgsql.Identifier(f"omnicdc_files_{os.getpid()}")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(pgsql.SQL("create database {}").format(name))
        yield psycopg.conninfo.make_conninfo(server, dbname=f"omnicdc_files_{os.getpid()}")
        admin.execute(pgsql.SQL("drop database {} with (force)").format(name))


@pytest.fixture
def files(database: str, tmp_path: Path) -> Iterator[Files]:
    """The files of a registry host whose CMP is empty."""
    with Cmp(database) as cmp, db.connect(database) as conn:
        conn.execute("drop schema if exists elsewhere cascade")
        conn.execute("drop table if exists projects cascade")
        conn.execute(TABLE)
        yield Files(cmp, conn, tmp_path)


@pytest.fixture
def rocket(files: Files) -> str:
    """Publish six projects; return the id of the project Rocket."""
    files.cmp.fill(5)
    project = files.cmp.upsert("Rocket", key="rocket", domain="space", github_url=ROCKET)
    files.publish()
    return project

"""`verify --all` and the dry run: every registry compared with CMP, also while a daemon publishes."""

from __future__ import annotations

import json
import threading

from support.files import ROCKET, UNKNOWN_PROJECT, Files
from support.host import PROJECT, REGISTRIES
from support.sources import SCANNERS

from omnicdc import db, verify
from omnicdc.model import Inputs
from omnicdc.registries.scanners import scanners
from omnicdc.verify.difference import unified


class TestAll:
    def test_only_the_first_of_many_entries_are_named(self, files: Files) -> None:
        files.publish()
        files.cmp.fill(50)

        missing = files.verify_all().as_dict()["registries"]["project"]["missing"]
        assert (missing["count"], len(missing["units"])) == (50, 20)

    def test_a_dry_run_reports_what_a_rebuild_would_rewrite(self, files: Files, rocket: str) -> None:
        files.cmp.upsert("Rocket", id=rocket, key="rocket", domain="sea", github_url=ROCKET)
        before = {name: (files.root / name).read_bytes() for name in REGISTRIES}

        report = files.verify_all()
        answer = report.as_dry_run()
        assert answer["registries_updated"] == ["canonical_projects_uuids.json", "PROJECT_REGISTRY_V1.yaml"]
        assert answer["results"] == {"cmp_projects": "rewritten", "project": "rewritten", "git": "unchanged"}
        assert report.registries[0].difference
        assert '+      "domain": "sea",' in list(unified(report.registries[0].difference))
        assert {name: (files.root / name).read_bytes() for name in REGISTRIES} == before

    def test_progress_names_each_registry(self, files: Files) -> None:
        files.publish()
        names: list[str] = []
        verify.verify_all(files.conn, files.config, Inputs(), True, names.append)

        assert names == [*SCANNERS, "cmp_agents"]

    def test_the_answers_are_json(self, files: Files, rocket: str) -> None:
        files.edit(PROJECT, "origin: cmp_db", "origin: 2001-01-01")

        for answer in (
            files.verify(rocket).as_dict(),
            files.verify_all().as_dict(),
            files.verify_all().as_dry_run(),
        ):
            assert json.loads(json.dumps(answer, default=str))


class TestBesideADaemon:
    def test_a_registry_that_is_published_meanwhile_is_compared_again(
        self, files: Files, rocket: str
    ) -> None:
        """The file shows a later state of CMP than the first comparison has read."""
        seen = []

        def publish_in_between(name: str) -> None:
            seen.append(name)
            if len(seen) == 1:
                with db.connect(files.cmp.dsn) as conn:
                    files.cmp.upsert("Rocket", id=rocket, key="rocket", status="retired", github_url=ROCKET)
                    Files(files.cmp, conn, files.root, files.inputs).publish()

        report = verify.verify_all(files.conn, files.config, Inputs(), True, publish_in_between)
        assert report.verified
        assert seen == [*SCANNERS, "cmp_agents", "cmp_projects", "project"]

    def test_only_differences_of_both_comparisons_are_reported(self, files: Files) -> None:
        files.publish()
        unpublished = files.cmp.upsert("Lasting")
        seen = []

        def write_in_between(name: str) -> None:
            seen.append(name)
            if len(seen) == len(scanners()):  # the first comparison has its snapshot, the second has not
                files.cmp.upsert("Passing")

        report = verify.verify_all(files.conn, files.config, Inputs(), True, write_in_between)
        assert [
            entry.entry_key for it in report.registries[:1] if it.difference for entry in it.difference.added
        ] == [unpublished]

    def test_constant_publication_causes_no_false_difference(self, files: Files, rocket: str) -> None:
        """The files are replaced while verify reads them, each time with another complete state."""
        end = threading.Event()

        def republish() -> None:
            with db.connect(files.cmp.dsn) as conn:
                mine = Files(files.cmp, conn, files.root, files.inputs)
                while not end.is_set():
                    files.cmp.upsert("Passing", id=UNKNOWN_PROJECT)
                    mine.publish()
                    files.cmp.conn.execute("delete from projects where id = %s", [UNKNOWN_PROJECT])
                    mine.publish()

        writer = threading.Thread(target=republish)
        writer.start()
        try:
            assert all(files.verify(rocket).verified for _ in range(30))
        finally:
            end.set()
            writer.join()

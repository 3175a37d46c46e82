"""What `verify` compares: repositories that projects share, the inputs of a host, the table of CMP."""

from __future__ import annotations

import json

import psycopg
import pytest
from support.files import ROCKET, UNKNOWN_PROJECT, Files
from support.host import INVENTORY, PROJECT

from omnicdc import verify
from omnicdc.config.settings import Config
from omnicdc.db.conninfo import Target
from omnicdc.errors import DatabaseUnavailable
from omnicdc.formats.item import ABSENT
from omnicdc.model import Inputs, Override


class TestRepositories:
    def test_projects_that_share_a_repository_are_verified_together(self, files: Files) -> None:
        urls = [ROCKET, "git@github.com:acme/rocket.git", " HTTP://www.GitHub.com/ACME/ROC\u212aET/ "]
        projects = [files.cmp.upsert(f"p{number}", github_url=url) for number, url in enumerate(urls)]
        files.cmp.upsert("other", github_url="https://github.com/acme/rocket-2")
        files.publish()

        assert len(files.parsed(INVENTORY)) == 2
        assert all(files.verify(project).verified for project in projects)

    def test_a_new_project_of_a_repository_changes_the_entry_of_the_others(
        self, files: Files, rocket: str
    ) -> None:
        other = files.cmp.upsert("Other", github_url=ROCKET)

        differences = {"uuid": (other, rocket), "uuids": ([other, rocket], ABSENT)}
        assert files.check(INVENTORY, rocket).differences == differences
        assert files.check(INVENTORY, other).differences == differences

    def test_the_report_on_a_moved_project_names_its_old_repository(self, files: Files, rocket: str) -> None:
        files.cmp.upsert(
            "Rocket", id=rocket, key="rocket", domain="space", github_url="https://github.com/acme/new"
        )

        check = files.check(INVENTORY, rocket)
        assert check.status == "missing"
        assert "https://github.com/acme/rocket" in check.detail

    def test_a_project_named_by_two_repositories_is_unexpected(self, files: Files, rocket: str) -> None:
        parsed = files.parsed(INVENTORY)
        parsed.append({"name": "x", "url": "https://github.com/x/x", "uuids": [UNKNOWN_PROJECT, rocket]})
        (files.root / INVENTORY).write_text(json.dumps(parsed))

        check = files.check(INVENTORY, rocket)
        assert (check.status, check.detail) == ("unexpected", "it is there, but of https://github.com/x/x")

    def test_a_repository_without_a_project_is_not_the_deleted_project(
        self, files: Files, rocket: str
    ) -> None:
        element = {"name": "Rocket", "url": ROCKET, "description": rocket, "stars": 2**70}
        files.inputs = Inputs(repositories={ROCKET.lower(): element})
        files.publish()
        assert files.verify(rocket).verified

        files.cmp.conn.execute("delete from projects where id = %s", [rocket])
        files.publish()
        assert files.statuses(rocket) == ["not_expected"] * 3

    def test_a_known_repository_that_does_not_name_its_project_is_stale(self, files: Files) -> None:
        files.inputs = Inputs(repositories={ROCKET.lower(): {"name": "Rocket", "url": ROCKET}})
        files.publish()
        late = files.cmp.upsert("Late", github_url=ROCKET)

        assert files.check(INVENTORY, late).differences == {"uuid": (late, ABSENT)}


class TestInputs:
    KNOWN = Inputs(
        overrides={ROCKET.lower(): Override(("/srv/rocket",), "a note", "frozen")},
        heart={"/srv/rocket": 2},
        repositories={ROCKET.lower(): {"name": "Rocket", "url": ROCKET, "visibility": "PUBLIC", "stars": 7}},
    )

    def test_known_inputs_are_compared(self, files: Files, rocket: str) -> None:
        files.inputs = self.KNOWN

        assert set(files.check(PROJECT, rocket).differences) == {
            "status", "notes", "local_paths", "visibility", "heart_connected", "heart_import_count",
        }  # fmt: skip
        files.publish()
        assert files.verify(rocket).verified

    def test_fields_that_depend_on_unknown_inputs_are_not_compared(self, files: Files, rocket: str) -> None:
        files.inputs = self.KNOWN
        files.publish()
        files.inputs, files.inputs_known = Inputs(), False

        report = files.verify(rocket)
        assert report.verified
        assert [set(check.not_compared) for check in report.checks] == [
            set(),
            {
                "local_paths",
                "status",
                "visibility",
                "updated_at",
                "notes",
                "heart_connected",
                "heart_import_count",
            },
            {"description", "name", "owner", "updatedAt", "url", "visibility", "source"},
        ]
        assert files.verify_all().verified

    def test_the_other_fields_are_compared_without_known_inputs(self, files: Files, rocket: str) -> None:
        files.inputs = self.KNOWN
        files.publish()
        files.inputs, files.inputs_known = Inputs(), False
        files.cmp.upsert("Other", key="rocket", domain="space", github_url=ROCKET)
        files.cmp.upsert("Racket", id=rocket, key="rocket", domain="space", github_url=ROCKET)

        assert [set(check.differences) for check in files.verify(rocket).checks] == [
            {"name"},
            {"display_name"},
            {"uuid", "uuids"},
        ]
        assert not any(report.good for report in files.verify_all().registries)

    def test_a_state_directory_that_no_daemon_has_used_has_no_inputs(self, files: Files) -> None:
        assert verify.known_inputs(files.config) == (Inputs(), False)


class TestCmp:
    def test_a_dropped_column_affects_the_registries_that_read_it(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("alter table projects drop column type")

        report = files.verify(rocket)
        assert [check.status for check in report.checks] == ["unreadable", "unreadable", "current"]
        assert 'column "type" does not exist' in report.checks[0].detail
        assert (report.verified, report.in_cmp) == (False, True)
        audit = files.verify_all()
        assert [it.status for it in audit.registries] == ["unreadable", "unreadable", "current"]
        assert audit.as_dry_run()["results"] == {
            "cmp_projects": "unreadable",
            "project": "unreadable",
            "git": "unchanged",
        }

    def test_without_the_table_it_is_unknown_whether_the_project_is_in_cmp(
        self, files: Files, rocket: str
    ) -> None:
        files.cmp.conn.execute("drop table projects cascade")

        report = files.verify(rocket)
        assert [check.status for check in report.checks] == ["unreadable"] * 3
        assert (report.verified, report.in_cmp) == (False, None)

    def test_a_lost_connection_is_no_verdict(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("select pg_terminate_backend(%s)", [files.conn.info.backend_pid])

        with pytest.raises(DatabaseUnavailable):
            files.verify(rocket)

    def test_the_connection_is_left_as_it_was(self, files: Files, rocket: str) -> None:
        files.verify(rocket)
        files.verify_all()

        assert files.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        files.conn.execute("create temp table writable ()")

    def test_a_table_in_another_schema_is_found(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("create schema elsewhere; alter table projects set schema elsewhere")
        config = Config(
            root=files.root, target=Target(dsn=files.cmp.dsn), tables=(("projects", "elsewhere.projects"),)
        )

        assert verify.verify_project(files.conn, config, Inputs(), True, rocket).verified

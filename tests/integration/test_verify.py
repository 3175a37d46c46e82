"""`verify` trusts nothing but CMP and the files.

It says yes where they agree, and tells what differs else.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml
from support.evidence import every
from support.files import LAYOUTS, NOBODY, ROCKET, STAMP, Files
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, until

from omnicdc import verify
from omnicdc.config.settings import Config
from omnicdc.db.conninfo import Target
from omnicdc.errors import ConfigError, DatabaseUnavailable
from omnicdc.files.manifest import describe, read_manifest, write_manifest
from omnicdc.formats.item import ABSENT
from omnicdc.model import Inputs, Override

if TYPE_CHECKING:
    from typing import LiteralString

WAITING: LiteralString = "select exists (select from pg_locks where pid = %s and not granted)"
CHECKS = ["in_canonical_uuids", "in_project_registry", "in_repo_inventory"]


class TestWhatIsRight:
    def test_a_published_project_is_verified(self, files: Files, rocket: str) -> None:
        expected = {
            "verified": True,
            "uuid": rocket,
            "name": "Rocket",
            "in_cmp": True,
            "missing_from": [],
            "not_expected": [],
        }

        found = files.verify(rocket).as_dict()
        assert {key: found[key] for key in expected} == expected
        assert found["checks"] == dict.fromkeys(CHECKS, True)
        assert files.verify_all().verified

    def test_no_manifest_is_needed(self, files: Files, rocket: str) -> None:
        files.publish(manifest=False)
        (files.root / "governance/registry/omnicdc_manifest.json").unlink()

        assert files.verify(rocket).verified
        assert files.verify_all().verified

    def test_a_manifest_that_does_not_fit_changes_nothing(self, files: Files, rocket: str) -> None:
        files.cmp.upsert("Aaa", github_url="https://github.com/acme/aaa")
        files.publish(manifest=False)

        assert files.verify(rocket).verified

    @pytest.mark.parametrize("registry", REGISTRIES)
    def test_a_file_laid_out_in_another_way_is_as_good(
        self, files: Files, rocket: str, registry: str
    ) -> None:
        (files.root / registry).write_text(LAYOUTS[registry](files.parsed(registry)))

        assert files.verify(rocket).verified
        assert files.verify_all().verified
        assert files.verify_all().as_dry_run()["registries_updated"] == [registry.rsplit("/", 1)[-1]]

    @pytest.mark.parametrize(
        "name",
        every(
            3,
            [
                "x" * 300_000, "é\u2028\x85🚀", '"', "- uuid: x", "\n- uuid: y\n", '\n    },\n    "', "null",
                "#", "\\", " ", "%_", "\n    },\n    {\n", "{}", "1e3", "---",
            ],
        ),
        ids=lambda name: ascii(name)[:20],
    )  # fmt: skip
    def test_whatever_a_project_is_called(self, files: Files, name: str) -> None:
        others = [files.cmp.upsert(name, key=name, domain=name, github_url=ROCKET) for _ in range(2)]
        project = files.cmp.upsert(
            f"{name}!", type=name, status=name, github_url=f"https://github.com/acme/{name[:90]}/"
        )
        files.publish()

        assert all(files.verify(one).verified for one in [project, *others])
        (files.root / CANONICAL).touch()
        files.publish(manifest=False)
        assert all(files.verify(one).verified for one in [project, *others])
        assert files.verify_all().verified

    def test_an_id_in_upper_case_and_with_blanks_is_the_same(self, files: Files, rocket: str) -> None:
        assert files.verify(f" {rocket.upper()}\n").uuid == rocket
        assert files.verify(rocket.upper()).verified

    @pytest.mark.parametrize(
        "uuid",
        ["", "rocket", "0" * 32, "%", NOBODY[:-1], NOBODY + "0", NOBODY.replace("0", "g"), "\u0660" * 36],
    )
    def test_what_is_no_id_is_refused(self, files: Files, uuid: str) -> None:
        with pytest.raises(ConfigError, match="not a UUID"):
            files.verify(uuid)

    def test_the_time_of_generation_does_not_matter(self, files: Files, rocket: str) -> None:
        for registry in (CANONICAL, PROJECT):
            files.edit(registry, STAMP, "2001-01-01T00:00:00+00:00")

        assert files.verify(rocket).verified
        assert files.verify_all().verified

    def test_an_empty_cmp_has_empty_registries(self, files: Files) -> None:
        files.publish()

        assert files.verify_all().verified


class TestWhatIsNotExpected:
    @pytest.mark.usefixtures("rocket")
    def test_a_project_that_is_not_in_cmp_has_not_arrived_though_every_file_is_right(
        self, files: Files
    ) -> None:
        report = files.verify(NOBODY)

        assert (report.verified, report.in_cmp, report.name) == (False, False, None)
        assert report.as_dict()["checks"] == dict.fromkeys(CHECKS, False)
        assert report.as_dict()["not_expected"] == CHECKS

    def test_a_deleted_project_is_unexpected_until_the_files_follow(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("delete from projects where id = %s", [rocket])

        assert files.statuses(rocket) == ["unexpected"] * 3
        assert files.verify(rocket).as_dict()["missing_from"] == CHECKS
        assert files.details() == [
            "1 unexpected; header: count",
            "1 unexpected; header: stats",
            "1 unexpected",
        ]

        files.publish()
        assert files.statuses(rocket) == ["not_expected"] * 3
        assert not files.verify(rocket).verified

    def test_an_excluded_project_is_not_in_the_project_registry(self, files: Files, rocket: str) -> None:
        files.inputs = Inputs(excluded=frozenset({"rocket"}))

        assert files.statuses(rocket) == ["current", "unexpected", "current"]
        files.publish()
        assert files.statuses(rocket) == ["current", "not_expected", "current"]
        assert files.verify(rocket).verified

    @pytest.mark.parametrize("url", [None, "", "https://gitlab.com/acme/rocket", "https://github.com/acme"])
    def test_a_project_without_a_repository_on_github_is_not_in_the_inventory(
        self, files: Files, url: str | None
    ) -> None:
        project = files.cmp.upsert("Private", github_url=url)
        files.publish()

        assert files.statuses(project) == ["current", "current", "not_expected"]
        assert files.verify(project).as_dict()["not_expected"] == ["in_repo_inventory"]
        assert files.verify(project).as_dict()["checks"] == dict.fromkeys(CHECKS, True)

    def test_a_file_that_does_not_exist_holds_nobody(self, files: Files) -> None:
        assert files.statuses(NOBODY) == ["not_expected"] * 3
        assert files.statuses(files.cmp.upsert("New")) == ["missing", "missing", "not_expected"]


class TestWhatIsWrong:
    def test_a_project_that_has_not_arrived_is_missing(self, files: Files, rocket: str) -> None:
        late = files.cmp.upsert("Late", github_url="https://github.com/acme/late")

        assert files.statuses(late) == ["missing"] * 3
        assert files.verify(late).stale_registries() == tuple(path.rsplit("/", 1)[-1] for path in REGISTRIES)
        assert "omnicdc wait" in files.verify(late).checks[0].hint
        assert files.verify(rocket).verified
        assert files.details() == ["1 missing; header: count", "1 missing; header: stats", "1 missing"]

    @pytest.mark.parametrize("manifest", [True, False])
    def test_a_change_that_has_not_arrived_is_told_field_by_field(
        self, files: Files, rocket: str, manifest: bool
    ) -> None:
        files.publish(manifest=manifest)
        files.cmp.upsert("Rocket", id=rocket, key="rocket", status="retired", domain="sea", github_url=ROCKET)
        expected = [
            {"domain": ("sea", "space"), "status": ("retired", "active")},
            {"status": ("retired", "active"), "domain": ("sea", "space")},
            {},
        ]

        assert [check.differences for check in files.verify(rocket).checks] == expected
        assert files.statuses(rocket) == ["stale", "stale", "current"]
        stale = files.verify_all().as_dict()["registries"]["project"]["stale"]
        assert stale == {
            "count": 1,
            "entries": {
                rocket: {
                    "status": {"expected": "retired", "found": "active"},
                    "domain": {"expected": "sea", "found": "space"},
                }
            },
        }

    @pytest.mark.parametrize(
        ("registry", "edit", "field"),
        [
            (CANONICAL, ('"name": "Rocket"', '"name": "Racket"'), "name"),
            (CANONICAL, ('"domain": "space",\n', ""), "domain"),
            (CANONICAL, ('"domain": "space"', '"domain": 1'), "domain"),
            (PROJECT, ("display_name: Rocket", "display_name: Racket"), "display_name"),
            (PROJECT, ("name: rocket\n", "name: 'rocket'\n  by_hand: 1\n"), "by_hand"),
            (PROJECT, ("heart_connected: false", "heart_connected: 0"), "heart_connected"),
            (PROJECT, ("status: active", "status: on"), "status"),
            (INVENTORY, ('"Acme"', '"Ecma"'), "owner"),
            (INVENTORY, ('"uuid"', '"uid"'), "uuid"),
        ],
    )
    def test_a_file_edited_by_hand_is_found_out(
        self, files: Files, rocket: str, registry: str, edit: tuple[str, str], field: str
    ) -> None:
        files.edit(registry, *edit)

        check = files.check(registry, rocket)
        assert check.status == "stale"
        assert field in check.differences
        assert not files.verify_all().verified

    @pytest.mark.parametrize("registry", REGISTRIES)
    def test_an_entry_removed_by_hand_is_missing(self, files: Files, rocket: str, registry: str) -> None:
        parsed = files.parsed(registry)
        entries = parsed if registry == INVENTORY else parsed["projects" if registry == PROJECT else "uuids"]
        if registry == CANONICAL:
            del entries[rocket]
        else:
            entries[:] = [entry for entry in entries if entry["uuid"] != rocket]
        (files.root / registry).write_text(LAYOUTS[registry](parsed))

        assert files.check(registry, rocket).status == "missing"
        assert [it.status for it in files.verify(rocket).checks].count("current") == 2

    @pytest.mark.parametrize("registry", REGISTRIES)
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
    def test_a_file_cut_short_is_found_out_though_the_entry_is_there(
        self, files: Files, registry: str, share: float
    ) -> None:
        first = files.cmp.upsert("AAA", github_url="https://github.com/a/a")
        files.cmp.fill(50)
        files.publish()
        data = (files.root / registry).read_bytes()
        cut = data[: int(len(data) * share)].rstrip(b"\n")
        assert first.encode() in cut
        (files.root / registry).write_bytes(cut)

        assert files.check(registry, first).status == "unreadable"
        assert "does not parse" in files.check(registry, first).detail
        assert not files.verify_all().verified

    @pytest.mark.parametrize(
        ("registry", "old", "new"),
        [
            (CANONICAL, '"count": 6,', '"count": 6'),
            (CANONICAL, '"key-3"', '"key-3'),
            (PROJECT, "name: key-3", "name: key: 3"),
            (PROJECT, "  display_name: project-3\n", "  name: project-3\n"),
            (PROJECT, "version: 1.0.0", "version: [1.0.0"),
            (PROJECT, "  origin: cmp_db\n", "\torigin: cmp_db\n"),
            (INVENTORY, "[\n", "{\n"),
            (INVENTORY, "null", "NaN"),
        ],
    )
    def test_a_file_that_does_not_parse_is_found_out_though_the_entry_is_whole(
        self, files: Files, rocket: str, registry: str, old: str, new: str
    ) -> None:
        files.edit(registry, old, new)

        check = files.check(registry, rocket)
        assert check.status == "unreadable"
        assert "does not parse: " in check.detail
        assert "omnicdc rebuild" in check.hint
        assert [it.status for it in files.verify(rocket).checks].count("current") == 2
        [broken] = [report for report in files.verify_all().registries if not report.good]
        assert broken.status == "unreadable"

    @pytest.mark.parametrize("registry", REGISTRIES)
    def test_a_file_that_is_none_is_unreadable(self, files: Files, rocket: str, registry: str) -> None:
        path = files.root / registry
        path.unlink()
        os.mkfifo(path)

        assert files.check(registry, rocket).status == "unreadable"
        assert not files.verify_all().verified

    def test_an_entry_that_is_there_twice_is_found_out(self, files: Files, rocket: str) -> None:
        """The list's first and last reader would not see the same."""
        parsed = files.parsed(PROJECT)
        [mine] = [entry for entry in parsed["projects"] if entry["uuid"] == rocket]
        parsed["projects"].append(mine | {"status": "retired"})
        (files.root / PROJECT).write_text(yaml.safe_dump(parsed, sort_keys=False))

        assert files.check(PROJECT, rocket).differences == {"status": ("active", "retired")}

    def test_a_repository_that_is_there_twice_is_found_out(self, files: Files, rocket: str) -> None:
        """The two are equal, but a reader that counts them would count too much."""
        elements = files.parsed(INVENTORY)
        twice = [*elements, *(it for it in elements if it.get("uuid") == rocket)]
        (files.root / INVENTORY).write_text(LAYOUTS[INVENTORY](twice))

        found = files.check(INVENTORY, rocket)
        assert (found.status, found.detail) == ("unexpected", "it is there 2 times")

    def test_a_manifest_that_vouches_for_what_is_no_entry_is_not_believed(
        self, files: Files, rocket: str
    ) -> None:
        """Length and hash fit, to the byte."""
        data = f"[\n    {{{rocket}\n    }}\n]".encode()
        put = files._put(INVENTORY, data)
        vouched = describe(((len(data), sha256(data).hexdigest()),), put, 1, STAMP)
        manifest = read_manifest(files.root)
        assert manifest
        write_manifest(files.root, replace(manifest, registries={INVENTORY: vouched}))

        found = files.check(INVENTORY, rocket)
        assert found.status == "unreadable"
        assert found.detail.startswith("the file holds something else than entries: ")

    def test_files_replaced_while_they_are_looked_at_are_looked_at_again(
        self, files: Files, rocket: str
    ) -> None:
        """P5: a daemon publishes meanwhile.

        What was read of the old files is no verdict on the new ones.
        """
        before = {name: (files.root / name).read_bytes() for name in REGISTRIES}
        files.cmp.set(rocket, status="retired")
        files.publish()
        after = {name: (files.root / name).read_bytes() for name in REGISTRIES}
        for name in REGISTRIES:
            files._put(name, before[name])

        with ThreadPoolExecutor() as pool:
            with files.cmp.connect() as other, other.transaction():
                other.execute("lock table projects in access exclusive mode")
                looking = pool.submit(files.verify, rocket)
                until(lambda: files.cmp.value(WAITING, files.conn.info.backend_pid), "the look has begun")
                for name in REGISTRIES:
                    files._put(name, after[name])
            assert looking.result(20).verified

    def test_a_row_that_cannot_be_shown_is_missing_with_the_reason(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("alter table projects alter name drop not null")
        files.cmp.conn.execute("update projects set name = null where id = %s", [rocket])
        files.publish()

        check = files.check(PROJECT, rocket)
        assert (check.status, check.detail) == ("missing", "held back: ValueError: its name is NULL")
        [_canonical, registry, _inventory] = files.verify_all().registries
        assert not registry.good
        assert registry.held == {rocket: "ValueError: its name is NULL"}


class TestRepositories:
    def test_projects_that_share_a_repository_are_verified_together(self, files: Files) -> None:
        urls = [ROCKET, "git@github.com:acme/rocket.git", " HTTP://www.GitHub.com/ACME/ROC\u212aET/ "]
        projects = [files.cmp.upsert(f"p{number}", github_url=url) for number, url in enumerate(urls)]
        files.cmp.upsert("other", github_url="https://github.com/acme/rocket-2")
        files.publish()

        assert len(files.parsed(INVENTORY)) == 2
        assert all(files.verify(project).verified for project in projects)

    def test_one_that_joins_changes_the_entry_of_the_others(self, files: Files, rocket: str) -> None:
        other = files.cmp.upsert("Other", github_url=ROCKET)

        differences = {"uuid": (other, rocket), "uuids": ([other, rocket], ABSENT)}
        assert files.check(INVENTORY, rocket).differences == differences
        assert files.check(INVENTORY, other).differences == differences

    def test_a_project_that_moved_is_told_where_it_still_is(self, files: Files, rocket: str) -> None:
        files.cmp.upsert(
            "Rocket", id=rocket, key="rocket", domain="space", github_url="https://github.com/acme/new"
        )

        check = files.check(INVENTORY, rocket)
        assert check.status == "missing"
        assert "https://github.com/acme/rocket" in check.detail

    def test_a_project_named_by_two_repositories_is_unexpected(self, files: Files, rocket: str) -> None:
        parsed = files.parsed(INVENTORY)
        parsed.append({"name": "x", "url": "https://github.com/x/x", "uuids": [NOBODY, rocket]})
        (files.root / INVENTORY).write_text(json.dumps(parsed))

        check = files.check(INVENTORY, rocket)
        assert (check.status, check.detail) == ("unexpected", "it is there, but of https://github.com/x/x")

    def test_a_repository_that_stands_alone_is_not_the_deleted_project(
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

    def test_they_are_compared_where_they_are_known(self, files: Files, rocket: str) -> None:
        files.inputs = self.KNOWN

        assert set(files.check(PROJECT, rocket).differences) == {
            "status", "notes", "local_paths", "visibility", "heart_connected", "heart_import_count",
        }  # fmt: skip
        files.publish()
        assert files.verify(rocket).verified

    def test_what_depends_on_them_is_left_out_where_they_are_not_known(
        self, files: Files, rocket: str
    ) -> None:
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

    def test_what_does_not_depend_on_them_is_compared_all_the_same(self, files: Files, rocket: str) -> None:
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

    def test_a_state_directory_that_no_daemon_has_used_tells_nothing(self, files: Files) -> None:
        assert verify.known_inputs(files.config) == (Inputs(), False)


class TestCmp:
    def test_a_column_that_is_gone_concerns_the_registries_that_read_it(
        self, files: Files, rocket: str
    ) -> None:
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

    def test_a_table_that_is_gone_leaves_open_whether_the_project_is_in_cmp(
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

    def test_a_table_of_another_schema_is_found(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("create schema elsewhere; alter table projects set schema elsewhere")
        config = Config(root=files.root, target=Target(dsn=files.cmp.dsn), table="elsewhere.projects")

        assert verify.verify_project(files.conn, config, Inputs(), True, rocket).verified

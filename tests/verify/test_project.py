"""`verify` reads only CMP and the files. It confirms a project where they agree."""

from __future__ import annotations

import pytest
from support.evidence import every
from support.files import LAYOUTS, ROCKET, STAMP, UNKNOWN_PROJECT, Files
from support.host import CANONICAL, PROJECT, REGISTRIES

from omnicdc.errors import ConfigError
from omnicdc.model import Inputs

CHECKS = ["in_canonical_uuids", "in_project_registry", "in_repo_inventory"]


class TestCurrent:
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

    def test_an_outdated_manifest_does_not_matter(self, files: Files, rocket: str) -> None:
        files.cmp.upsert("Aaa", github_url="https://github.com/acme/aaa")
        files.publish(manifest=False)

        assert files.verify(rocket).verified

    @pytest.mark.parametrize("registry", REGISTRIES)
    def test_a_file_with_another_layout_is_verified_as_well(
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
    def test_a_project_of_any_name_is_verified(self, files: Files, name: str) -> None:
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

    def test_an_id_in_upper_case_or_with_blanks_is_accepted(self, files: Files, rocket: str) -> None:
        assert files.verify(f" {rocket.upper()}\n").uuid == rocket
        assert files.verify(rocket.upper()).verified

    @pytest.mark.parametrize(
        "uuid",
        [
            "",
            "rocket",
            "0" * 32,
            "%",
            UNKNOWN_PROJECT[:-1],
            UNKNOWN_PROJECT + "0",
            UNKNOWN_PROJECT.replace("0", "g"),
            "\u0660" * 36,
        ],
    )
    def test_a_text_that_is_no_id_is_refused(self, files: Files, uuid: str) -> None:
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


class TestNotExpected:
    @pytest.mark.usefixtures("rocket")
    def test_a_project_that_is_not_in_cmp_is_not_verified_though_every_file_is_right(
        self, files: Files
    ) -> None:
        report = files.verify(UNKNOWN_PROJECT)

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

    def test_a_file_that_does_not_exist_holds_no_project(self, files: Files) -> None:
        assert files.statuses(UNKNOWN_PROJECT) == ["not_expected"] * 3
        assert files.statuses(files.cmp.upsert("New")) == ["missing", "missing", "not_expected"]

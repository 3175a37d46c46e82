"""`verify` finds every way in which a file differs from CMP, and reports it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import yaml
from support.files import LAYOUTS, ROCKET, STAMP, Files
from support.host import CANONICAL, INVENTORY, PROJECT, REGISTRIES, until

from omnicdc.files.manifest import describe, read_manifest, write_manifest

if TYPE_CHECKING:
    from typing import LiteralString

WAITING: LiteralString = "select exists (select from pg_locks where pid = %s and not granted)"


class TestDifferences:
    def test_a_project_that_is_not_published_is_missing(self, files: Files, rocket: str) -> None:
        late = files.cmp.upsert("Late", github_url="https://github.com/acme/late")

        assert files.statuses(late) == ["missing"] * 3
        assert files.verify(late).stale_registries() == tuple(path.rsplit("/", 1)[-1] for path in REGISTRIES)
        assert "omnicdc wait" in files.verify(late).checks[0].hint
        assert files.verify(rocket).verified
        assert files.details() == ["1 missing; header: count", "1 missing; header: stats", "1 missing"]

    @pytest.mark.parametrize("manifest", [True, False])
    def test_a_change_that_is_not_published_is_reported_field_by_field(
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
            "names": {rocket: "Rocket"},
        }

    @pytest.mark.parametrize(
        ("registry", "edit", "field"),
        [
            (CANONICAL, ('"name": "Rocket"', '"name": "Racket"'), "name"),
            (CANONICAL, ('"domain": "space",\n', ""), "domain"),
            (CANONICAL, ('"domain": "space"', '"domain": 1'), "domain"),
            (PROJECT, ("display_name: Rocket", "display_name: Racket"), "display_name"),
            (PROJECT, ("name: rocket\n", "name: 'rocket'\n  added: 1\n"), "added"),
            (PROJECT, ("heart_connected: false", "heart_connected: 0"), "heart_connected"),
            (PROJECT, ("status: active", "status: on"), "status"),
            (INVENTORY, ('"Acme"', '"Ecma"'), "owner"),
            (INVENTORY, ('"uuid"', '"uid"'), "uuid"),
        ],
    )
    def test_a_manual_edit_of_a_file_is_found(
        self, files: Files, rocket: str, registry: str, edit: tuple[str, str], field: str
    ) -> None:
        files.edit(registry, *edit)

        check = files.check(registry, rocket)
        assert check.status == "stale"
        assert field in check.differences
        assert not files.verify_all().verified

    @pytest.mark.parametrize("registry", REGISTRIES)
    def test_an_entry_that_a_user_removed_is_missing(self, files: Files, rocket: str, registry: str) -> None:
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
    def test_a_truncated_file_is_found_though_it_has_the_entry(
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
    def test_a_file_that_does_not_parse_is_found_though_the_entry_is_whole(
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
    def test_a_pipe_in_a_file_s_place_is_unreadable(self, files: Files, rocket: str, registry: str) -> None:
        path = files.root / registry
        path.unlink()
        os.mkfifo(path)

        assert files.check(registry, rocket).status == "unreadable"
        assert not files.verify_all().verified

    def test_a_duplicate_entry_is_found(self, files: Files, rocket: str) -> None:
        """A reader that takes the first entry would see another status than one that takes the last."""
        parsed = files.parsed(PROJECT)
        [mine] = [entry for entry in parsed["projects"] if entry["uuid"] == rocket]
        parsed["projects"].append(mine | {"status": "retired"})
        (files.root / PROJECT).write_text(yaml.safe_dump(parsed, sort_keys=False))

        assert files.check(PROJECT, rocket).differences == {"status": ("active", "retired")}

    def test_a_duplicate_repository_is_found(self, files: Files, rocket: str) -> None:
        """The two are equal, but a reader that counts the elements would count one too many."""
        elements = files.parsed(INVENTORY)
        twice = [*elements, *(it for it in elements if it.get("uuid") == rocket)]
        (files.root / INVENTORY).write_text(LAYOUTS[INVENTORY](twice))

        found = files.check(INVENTORY, rocket)
        assert (found.status, found.detail) == ("unexpected", "it is there 2 times")

    def test_a_manifest_that_describes_an_invalid_entry_is_not_trusted(
        self, files: Files, rocket: str
    ) -> None:
        """Its length and its hash of the file are right."""
        data = f"[\n    {{{rocket}\n    }}\n]".encode()
        put = files._put(INVENTORY, data)
        vouched = describe(((len(data), sha256(data).hexdigest()),), put, 1, STAMP)
        manifest = read_manifest(files.root)
        assert manifest
        write_manifest(files.root, replace(manifest, registries={INVENTORY: vouched}))

        found = files.check(INVENTORY, rocket)
        assert found.status == "unreadable"
        assert found.detail.startswith("the file holds something else than entries: ")

    def test_files_that_are_replaced_during_the_comparison_are_compared_again(
        self, files: Files, rocket: str
    ) -> None:
        """P5: a daemon publishes meanwhile.

        What was read from the old files must not decide about the new ones.
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
                comparing = pool.submit(files.verify, rocket)
                until(
                    lambda: files.cmp.value(WAITING, files.conn.info.backend_pid), "the comparison has begun"
                )
                for name in REGISTRIES:
                    files._put(name, after[name])
            assert comparing.result(20).verified

    def test_a_row_in_quarantine_is_missing_with_the_reason(self, files: Files, rocket: str) -> None:
        files.cmp.conn.execute("alter table projects alter name drop not null")
        files.cmp.conn.execute("update projects set name = null where id = %s", [rocket])
        files.publish()

        check = files.check(PROJECT, rocket)
        assert (check.status, check.detail) == ("missing", "held back: ValueError: its name is NULL")
        [_canonical, registry, _inventory] = files.verify_all().registries
        assert not registry.good
        assert registry.held == {rocket: "ValueError: its name is NULL"}

"""The manifest is read as it was written. A manifest that is damaged is treated as missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from omnicdc.files.manifest import (
    ANNOUNCED,
    MANIFEST,
    Manifest,
    announce,
    read_announced,
    read_manifest,
    write_manifest,
)
from omnicdc.model import Published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AT = datetime(2026, 11, 22, 20, 59, 55, 573397, tzinfo=UTC)
FILE = Published(
    count=2, size=21, mtime_ns=1_795_381_195_573_397_123, inode=2**63, stamp="then", blocks=((21, "ab"),)
)
WRITTEN = Manifest("höst", 7, "10:20:10,14", AT, {"uuid/a.json": FILE, "git/b.json": FILE})


def manifest_json(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / MANIFEST).read_bytes())
    return found


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, WRITTEN)

    assert read_manifest(tmp_path) == WRITTEN


def test_the_keys_of_a_manifest_are_a_contract(tmp_path: Path) -> None:
    write_manifest(tmp_path, WRITTEN)

    found = manifest_json(tmp_path)
    assert found["registries"].pop("git/b.json")
    assert found == {
        "version": 1,
        "consumer": "höst",
        "generation": 7,
        "snapshot": "10:20:10,14",
        "published_at": "2026-11-22T20:59:55.573397+00:00",
        "registries": {
            "uuid/a.json": {
                "count": 2,
                "size": 21,
                "generated_at": "then",
                "mtime_ns": 1795381195573397123,
                "inode": 2**63,
                "blocks": [[21, "ab"]],
            }
        },
    }


def test_a_missing_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "gone") is None


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    return lambda it: {key: value for key, value in it.items() if key not in keys}


def with_file(**values: object) -> Callable[[dict[str, Any]], Any]:
    return lambda it: {**it, "registries": {"a": {**it["registries"]["uuid/a.json"], **values}}}


@pytest.mark.parametrize(
    "damage",
    [
        lambda it: {**it, "version": 2}, lambda it: [it], lambda _: None, lambda _: "x", lambda _: {},
        without("snapshot"), without("registries"), lambda it: {**it, "registries": []},
        lambda it: {**it, "registries": {"a": None}}, lambda it: {**it, "generation": "7"},
        lambda it: {**it, "published_at": "yesterday"}, lambda it: {**it, "published_at": 3},
        with_file(count="2"), with_file(count=True), with_file(size=None), with_file(inode=1.5),
        with_file(blocks=[[1]]), with_file(blocks=[1]), with_file(blocks=[["1", "ab"]]), with_file(blocks={}),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_none(tmp_path: Path, damage: Callable[[dict[str, Any]], Any]) -> None:
    write_manifest(tmp_path, WRITTEN)
    (tmp_path / MANIFEST).write_text(json.dumps(damage(manifest_json(tmp_path))))

    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"\0" * 10])
def test_a_manifest_that_is_not_json_is_none(tmp_path: Path, content: bytes) -> None:
    write_manifest(tmp_path, WRITTEN)
    (tmp_path / MANIFEST).write_bytes(content)

    assert read_manifest(tmp_path) is None


def test_a_directory_in_place_of_the_manifest_is_none(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir(parents=True)

    assert read_manifest(tmp_path) is None


def test_keys_of_a_later_version_of_omnicdc_are_ignored(tmp_path: Path) -> None:
    write_manifest(tmp_path, WRITTEN)
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest_json(tmp_path), "colour": "green"}))

    assert read_manifest(tmp_path) == WRITTEN


def test_a_second_manifest_replaces_the_first_completely(tmp_path: Path) -> None:
    write_manifest(tmp_path, WRITTEN)
    write_manifest(tmp_path, Manifest("b", 8, "", AT, {}))

    assert read_manifest(tmp_path) == Manifest("b", 8, "", AT, {})
    assert list((tmp_path / MANIFEST).parent.iterdir()) == [tmp_path / MANIFEST]


def test_an_announcement_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also after a longer announcement: the file is written in place."""
    (tmp_path / MANIFEST).parent.mkdir(parents=True)
    announce(tmp_path, {"a.json": [(1, 2, 3), (4, 5, 2**63)], "b.json": [None, (7, 8, 9)]})
    announce(tmp_path, {"a.json": [None, (4, 5, 2**63)]})

    assert read_announced(tmp_path) == {"a.json": [None, (4, 5, 2**63)]}


@pytest.mark.parametrize("found", [b"", b"[]", b'{"a": 1}', b'{"a": [[1, 2]]}', b"\xff", b'{"a": [[1, 2, 3]'])
def test_an_invalid_announcement_is_treated_as_missing(tmp_path: Path, found: bytes) -> None:
    (tmp_path / ANNOUNCED).parent.mkdir(parents=True)
    (tmp_path / ANNOUNCED).write_bytes(found)

    assert read_announced(tmp_path) == {}


def test_a_failed_announcement_is_no_error(tmp_path: Path) -> None:
    """An announcement only helps the next start."""
    (tmp_path / ANNOUNCED).mkdir(parents=True)
    announce(tmp_path, {"a.json": [None]})

    assert read_announced(tmp_path) == {}

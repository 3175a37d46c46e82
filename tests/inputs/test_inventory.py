"""The inventory found at the first start is adopted once, and nothing in it is lost."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from omnicdc.errors import ConfigError
from omnicdc.inputs.inventory import adopt, adopted_before, merge

if TYPE_CHECKING:
    from pathlib import Path

UUID = "6f1c9a52-0000-4000-8000-000000000001"


def element(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "url": f"https://github.com/Acme/{name}", **fields}


def vouched_by_cmp(name: str, **fields: object) -> dict[str, Any]:
    owner = {"id": "", "login": "Acme"}
    known = {"description": None, "owner": owner, "updatedAt": None, "visibility": "unknown", "uuid": UUID}
    return element(name, **known, **fields)


def published(root: Path, elements: object) -> Path:
    file = root / "repo_inventory.json"
    file.write_text(json.dumps(elements), "utf-8")
    return file


def keys(elements: object) -> list[str]:
    assert isinstance(elements, dict)
    return [key.rpartition("/")[2] for key in elements]


def test_the_first_start_adopts_all_but_what_omnicdc_owns(tmp_path: Path) -> None:
    starred = element(
        "Rocket", stars=7, owner={"id": "x", "login": "Acme", "team": "é"}, uuid=UUID, uuids=[UUID]
    )
    elsewhere = {"name": "lab", "url": "https://gitlab.com/acme/lab", "description": None}
    file = published(tmp_path, [starred, elsewhere])
    expected = {
        "https://github.com/acme/rocket": {k: v for k, v in starred.items() if k not in ("uuid", "uuids")},
        "https://gitlab.com/acme/lab": elsewhere,
    }

    reading = adopt(file, tmp_path)

    assert reading.value == expected
    assert reading.faults == ()
    assert adopted_before(tmp_path) == expected


def test_later_starts_do_not_read_the_published_file(tmp_path: Path) -> None:
    file = published(tmp_path, [element("first")])
    adopt(file, tmp_path)
    published(tmp_path, [element("second")])

    assert keys(adopt(file, tmp_path).value) == ["first"]


def test_without_a_file_at_the_first_start_nothing_is_adopted_later_either(tmp_path: Path) -> None:
    assert adopt(tmp_path / "repo_inventory.json", tmp_path).value == {}

    file = published(tmp_path, [element("ours")])

    assert adopt(file, tmp_path).value == {}


def test_only_what_cmp_alone_vouches_for_is_left_to_leave(tmp_path: Path) -> None:
    elements = [
        vouched_by_cmp("gone"),
        vouched_by_cmp("gone-too", uuids=[UUID, UUID]),
        vouched_by_cmp("marked", source="cmp"),
        vouched_by_cmp("unknown-field", stars=None),
        vouched_by_cmp("described") | {"description": ""},
        vouched_by_cmp("dated") | {"updatedAt": "2026-01-01T00:00:00Z"},
        vouched_by_cmp("seen") | {"visibility": "PUBLIC"},
        vouched_by_cmp("owned") | {"owner": {"id": "", "login": "Acme", "name": "A"}},
        vouched_by_cmp("renamed") | {"name": "other"},
    ]
    unowned = vouched_by_cmp("never-ours")
    del unowned["uuid"]
    expected = ["unknown-field", "described", "dated", "seen", "owned", "renamed", "never-ours"]

    reading = adopt(published(tmp_path, [*elements, unowned]), tmp_path)

    assert keys(reading.value) == expected


def test_of_two_elements_for_one_repository_the_later_wins_and_no_field_is_lost(tmp_path: Path) -> None:
    later = element("ROCKET", stars=2) | {"url": "git@github.com:acme/rocket.git"}
    twice = [element("rocket", stars=1, forks=3), later]

    reading = adopt(published(tmp_path, twice), tmp_path)

    assert [*reading.value.values()] == [later | {"forks": 3}]


def test_an_element_of_cmp_alone_does_not_blank_an_earlier_one(tmp_path: Path) -> None:
    known = element("rocket", stars=1, description="a rocket")

    reading = adopt(published(tmp_path, [known, vouched_by_cmp("ROCKET")]), tmp_path)

    assert [*reading.value.values()] == [known]


def test_bad_elements_are_told_and_skipped_and_a_copy_stays(tmp_path: Path) -> None:
    elements = [
        element("good"),
        "text",
        {"name": "x"},
        element("y") | {"name": 7},
        element("z") | {"url": " / "},
    ]
    file = published(tmp_path, [*elements, element("half", note="\ud800")])
    state = tmp_path / "state"
    state.mkdir()
    expected = [
        f"{file}: element 2 is not an object; it is skipped",
        f"{file}: element 3 has no text url; it is skipped",
        f"{file}: element 4 has no text name; it is skipped",
        f"{file}: element 5 has a url of nothing but slashes; it is skipped",
        f"{file}: 'https://github.com/acme/half' holds half a surrogate pair; it is skipped",
    ]

    reading = adopt(file, state)

    assert list(reading.faults[:-1]) == expected
    assert reading.faults[-1].endswith(f"as it was found it stays in {state}/repo_inventory.json.found")
    assert keys(reading.value) == ["good"]
    assert (state / "repo_inventory.json.found").read_bytes() == file.read_bytes()
    assert adopt(file, state).faults == ()


@pytest.mark.parametrize("data", [b"", b"[{]", b'{"name": 1}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_list_is_set_aside_and_life_goes_on(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "repo_inventory.json"
    file.write_bytes(data)
    state = tmp_path / "state"
    state.mkdir()

    reading = adopt(file, state)

    assert reading.value == {}
    assert reading.faults[0] == f"{file}: not a JSON list; nothing of it is adopted"
    assert (state / "repo_inventory.json.found").read_bytes() == data
    assert adopted_before(state) == {}


@pytest.mark.parametrize(
    ("source", "kept"), [("cmp", None), ("gone", "gone"), ("import", "import"), (None, None)]
)
def test_of_the_source_only_what_cannot_be_found_out_again_is_adopted(
    source: str | None, kept: str | None, tmp_path: Path
) -> None:
    """`cmp` is worked out anew; `gone` is what GitHub said; a value of other programs stays."""
    marked = element("rocket", stars=1) | ({"source": source} if source else {})

    [adopted] = adopt(published(tmp_path, [marked]), tmp_path).value.values()

    assert adopted.get("source") == kept


def test_values_that_other_json_readers_would_spoil_are_kept(tmp_path: Path) -> None:
    kept = element("rocket", size=10**30, ratio=0.1, nested={"a": [None, True, {"b": "\u2028"}]})

    adopt(published(tmp_path, [kept]), tmp_path)

    assert adopted_before(tmp_path) == {"https://github.com/acme/rocket": kept}


def test_damage_to_what_was_adopted_is_told_and_mended_from_the_published_file(tmp_path: Path) -> None:
    file = published(tmp_path, [element("rocket")])
    adopt(file, tmp_path)
    (tmp_path / "adopted_inventory.json").write_text("[{")

    reading = adopt(file, tmp_path)

    assert keys(reading.value) == ["rocket"]
    assert len(reading.faults) == 1
    assert "adopted_inventory.json.found" in reading.faults[0]
    assert adopt(file, tmp_path).faults == ()


def test_an_inventory_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    unreadable = tmp_path / "repo_inventory.json"
    unreadable.symlink_to(unreadable)

    with pytest.raises(ConfigError, match="what it holds cannot be kept"):
        adopt(unreadable, tmp_path)

    assert not (tmp_path / "adopted_inventory.json").exists()


def test_github_wins_field_by_field_and_nothing_leaves() -> None:
    adopted: dict[str, dict[str, Any]] = {
        "a": {"name": "a", "stars": 1, "description": "old", "owner": {"id": "1", "login": "x", "team": "t"}},
        "b": {"name": "b"},
    }
    fetched: dict[str, dict[str, Any]] = {
        "a": {"name": "A", "description": None, "owner": {"id": "2", "login": "X"}},
        "c": {"name": "c"},
    }
    expected = {
        "a": {"name": "A", "stars": 1, "description": None, "owner": {"id": "2", "login": "X", "team": "t"}},
        "b": {"name": "b"},
        "c": {"name": "c"},
    }

    assert merge(adopted, fetched) == expected


@pytest.mark.parametrize(
    ("adopted", "fetched", "expected"),
    [("gone", None, None), ("import", None, "import"), ("import", "gone", "gone"), (None, "gone", "gone")],
)
def test_what_github_says_of_the_source_wins_over_what_it_said_before(
    adopted: str | None, fetched: str | None, expected: str | None
) -> None:
    def marked(source: str | None) -> dict[str, Any]:
        return element("rocket") | ({"source": source} if source else {})

    both = merge({"rocket": marked(adopted)}, {"rocket": marked(fetched)})

    assert both["rocket"].get("source") == expected


@pytest.mark.parametrize(
    ("adopted", "fetched"),
    [(None, {"id": "x", "login": "Acme"}), ("Acme", {"login": "Acme"}), ({"id": "x"}, None)],
)
def test_an_owner_that_is_no_object_is_not_laid_over(adopted: object, fetched: object) -> None:
    both = merge({"rocket": element("rocket", owner=adopted)}, {"rocket": element("rocket", owner=fetched)})

    assert both["rocket"]["owner"] == fetched


def test_other_users_may_read_what_was_adopted(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        adopt(published(tmp_path, []), tmp_path)
    finally:
        os.umask(before)

    assert (tmp_path / "adopted_inventory.json").stat().st_mode & 0o777 == 0o644

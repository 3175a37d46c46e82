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


def known_only_from_cmp(name: str, **fields: object) -> dict[str, Any]:
    owner = {"id": "", "login": "Acme"}
    known = {"description": None, "owner": owner, "updatedAt": None, "visibility": "unknown", "uuid": UUID}
    return element(name, **known, **fields)


def publish(root: Path, elements: object) -> Path:
    file = root / "repo_inventory.json"
    file.write_text(json.dumps(elements), "utf-8")
    return file


def names(elements: object) -> list[str]:
    assert isinstance(elements, dict)
    return [key.rpartition("/")[2] for key in elements]


def test_the_first_start_adopts_all_fields_except_omnicdc_s_own(tmp_path: Path) -> None:
    starred = element(
        "Rocket", stars=7, owner={"id": "x", "login": "Acme", "team": "é"}, uuid=UUID, uuids=[UUID]
    )
    elsewhere = {"name": "lab", "url": "https://gitlab.com/acme/lab", "description": None}
    file = publish(tmp_path, [starred, elsewhere])
    expected = {
        "https://github.com/acme/rocket": {k: v for k, v in starred.items() if k not in ("uuid", "uuids")},
        "https://gitlab.com/acme/lab": elsewhere,
    }

    reading = adopt(file, tmp_path)

    assert reading.value == expected
    assert reading.faults == ()
    assert adopted_before(tmp_path) == expected


def test_later_starts_do_not_read_the_published_file(tmp_path: Path) -> None:
    file = publish(tmp_path, [element("first")])
    adopt(file, tmp_path)
    publish(tmp_path, [element("second")])

    assert names(adopt(file, tmp_path).value) == ["first"]


def test_without_a_file_at_the_first_start_nothing_is_adopted_later(tmp_path: Path) -> None:
    assert adopt(tmp_path / "repo_inventory.json", tmp_path).value == {}

    file = publish(tmp_path, [element("ours")])

    assert adopt(file, tmp_path).value == {}


def test_only_elements_known_only_from_cmp_are_not_adopted(tmp_path: Path) -> None:
    elements = [
        known_only_from_cmp("gone"),
        known_only_from_cmp("gone-too", uuids=[UUID, UUID]),
        known_only_from_cmp("marked", source="cmp"),
        known_only_from_cmp("unknown-field", stars=None),
        known_only_from_cmp("described") | {"description": ""},
        known_only_from_cmp("dated") | {"updatedAt": "2026-01-01T00:00:00Z"},
        known_only_from_cmp("seen") | {"visibility": "PUBLIC"},
        known_only_from_cmp("owned") | {"owner": {"id": "", "login": "Acme", "name": "A"}},
        known_only_from_cmp("renamed") | {"name": "other"},
    ]
    unowned = known_only_from_cmp("never-ours")
    del unowned["uuid"]
    expected = ["unknown-field", "described", "dated", "seen", "owned", "renamed", "never-ours"]

    reading = adopt(publish(tmp_path, [*elements, unowned]), tmp_path)

    assert names(reading.value) == expected


def test_two_elements_for_one_repository_are_merged_and_the_later_wins(tmp_path: Path) -> None:
    later = element("ROCKET", stars=2) | {"url": "git@github.com:acme/rocket.git"}
    twice = [element("rocket", stars=1, forks=3), later]

    reading = adopt(publish(tmp_path, twice), tmp_path)

    assert [*reading.value.values()] == [later | {"forks": 3}]


def test_an_element_known_only_from_cmp_does_not_replace_an_earlier_one(tmp_path: Path) -> None:
    known = element("rocket", stars=1, description="a rocket")

    reading = adopt(publish(tmp_path, [known, known_only_from_cmp("ROCKET")]), tmp_path)

    assert [*reading.value.values()] == [known]


def test_bad_elements_are_reported_and_skipped_and_the_file_is_backed_up(tmp_path: Path) -> None:
    elements = [
        element("good"),
        "text",
        {"name": "x"},
        element("y") | {"name": 7},
        element("z") | {"url": " / "},
    ]
    file = publish(tmp_path, [*elements, element("half", note="\ud800")])
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
    assert names(reading.value) == ["good"]
    assert (state / "repo_inventory.json.found").read_bytes() == file.read_bytes()
    assert adopt(file, state).faults == ()


@pytest.mark.parametrize("data", [b"", b"[{]", b'{"name": 1}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_not_a_list_is_backed_up_and_not_adopted(data: bytes, tmp_path: Path) -> None:
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
def test_a_source_is_adopted_only_if_it_cannot_be_computed_again(
    source: str | None, kept: str | None, tmp_path: Path
) -> None:
    """`cmp` is computed again. `gone` comes from GitHub. Values of other programs stay."""
    marked = element("rocket", stars=1) | ({"source": source} if source else {})

    [adopted] = adopt(publish(tmp_path, [marked]), tmp_path).value.values()

    assert adopted.get("source") == kept


def test_values_that_other_json_readers_would_change_are_kept(tmp_path: Path) -> None:
    kept = element("rocket", size=10**30, ratio=0.1, nested={"a": [None, True, {"b": "\u2028"}]})

    adopt(publish(tmp_path, [kept]), tmp_path)

    assert adopted_before(tmp_path) == {"https://github.com/acme/rocket": kept}


def test_a_damaged_adopted_inventory_is_reported_and_replaced_from_the_published_file(tmp_path: Path) -> None:
    file = publish(tmp_path, [element("rocket")])
    adopt(file, tmp_path)
    (tmp_path / "adopted_inventory.json").write_text("[{")

    reading = adopt(file, tmp_path)

    assert names(reading.value) == ["rocket"]
    assert len(reading.faults) == 1
    assert "adopted_inventory.json.found" in reading.faults[0]
    assert adopt(file, tmp_path).faults == ()


def test_an_unreadable_inventory_is_not_treated_as_empty(tmp_path: Path) -> None:
    unreadable = tmp_path / "repo_inventory.json"
    unreadable.symlink_to(unreadable)

    with pytest.raises(ConfigError, match="what it holds cannot be kept"):
        adopt(unreadable, tmp_path)

    assert not (tmp_path / "adopted_inventory.json").exists()


def test_github_replaces_single_fields_and_removes_no_element() -> None:
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
def test_the_new_source_from_github_wins_over_the_earlier_one(
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
def test_an_owner_is_replaced_and_not_merged_if_a_field_is_missing(adopted: object, fetched: object) -> None:
    both = merge({"rocket": element("rocket", owner=adopted)}, {"rocket": element("rocket", owner=fetched)})

    assert both["rocket"]["owner"] == fetched


def test_other_users_may_read_the_adopted_inventory(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        adopt(publish(tmp_path, []), tmp_path)
    finally:
        os.umask(before)

    assert (tmp_path / "adopted_inventory.json").stat().st_mode & 0o777 == 0o644

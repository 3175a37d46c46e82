"""The content of each registry, byte by byte where readers depend on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omnicdc.capture.watch_list import derive
from omnicdc.model import Inputs, Override
from omnicdc.registries import scanners as package
from omnicdc.registries.projection import Projection
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from omnicdc.registries.scanners import Row

STAMP = "2026-11-22T20:59:55.573397+00:00"
A, B = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"
URL = "https://github.com/acme/apollo"

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def _file(name: str, rows: Sequence[Row], inputs: Inputs | None = None) -> bytes:
    registry = Projection(scanners()[name], inputs or Inputs())
    registry.rebuild(rows)
    frame = registry.scanner.frame(len(registry.document), registry.document.counters, STAMP)
    return b"".join(registry.document.parts(frame))


def _project(inputs: Inputs, **columns: str | None) -> dict[str, Any]:
    row = {
        "name": "Apollo",
        "key": "apollo",
        "type": "SERVICE",
        "status": "active",
        "url": URL,
        "domain": "space",
    } | columns
    read = yaml.safe_load(_file("project", [(A, *row.values())], inputs))
    entry = read["projects"][0]
    assert isinstance(entry, dict)
    return entry


def test_the_canonical_registry_is_what_json_dumps_writes() -> None:
    rows: list[Row] = [
        (B, 'é \u2028 "q"', None, None, None, "", None),
        (A, "Apollo", "SERVICE", "apollo", URL, "d", "active"),
    ]
    fields = ("name", "type", "key", "github_url", "domain", "status")
    uuids = {row[0]: dict(zip(fields, row[1:], strict=True)) | {"source": "cmp_db"} for row in reversed(rows)}
    document = {
        "version": "1.0.0",
        "entity_type": "projects",
        "generated_at": STAMP,
        "count": 2,
        "uuids": uuids,
    }

    assert _file("cmp_projects", rows).decode() == json.dumps(document, indent=2, ensure_ascii=False)


def test_the_empty_canonical_registry_is_what_json_dumps_writes() -> None:
    document = {"version": "1.0.0", "entity_type": "projects", "generated_at": STAMP, "count": 0, "uuids": {}}

    assert _file("cmp_projects", []).decode() == json.dumps(document, indent=2)


def test_entries_are_in_code_point_order() -> None:
    rows: list[Row] = [
        (A, name, None, None, None, None, None) for name in ("b", "B", "ä", "a", "Z", "\U0001f680", "\uffff")
    ]
    rows = [(f"{i:08d}-0000-0000-0000-000000000000", *row[1:]) for i, row in enumerate(rows)]

    uuids = json.loads(_file("cmp_projects", rows))["uuids"]

    assert [entry["name"] for entry in uuids.values()] == ["B", "Z", "a", "b", "ä", "\uffff", "\U0001f680"]


def test_the_project_registry_byte_by_byte() -> None:
    inputs = Inputs(
        overrides={"https://github.com/acme/apollo": Override(("/src/a", "/src/b"), "no", None)},
        heart={"/src/b": 3},
        repositories={
            "https://github.com/acme/apollo": {"visibility": "PUBLIC", "updatedAt": "2026-01-01T00:00:00Z"}
        },
    )

    assert (
        _file("project", [(A, "Apollo", None, "SERVICE", "active", URL, "on")], inputs).decode()
        == f"""\
version: 1.0.0
generated_at: "{STAMP}"
namespace: c9c22e70-3882-4503-9db6-353d2629000b
stats:
  total: 1
  github: 1
  local_only: 0
  linked: 1
  cloud_only: 0
  local_snapshot: 0
  virtual: 0
  heart_connected: 1
  heart_disconnected: 0
projects:
- uuid: {A}
  name: Apollo
  display_name: Apollo
  github_url: https://github.com/acme/apollo
  local_paths:
  - /src/a
  - /src/b
  classification: service
  status: active
  origin: cmp_db
  visibility: PUBLIC
  updated_at: "2026-01-01T00:00:00Z"
  notes: "no"
  heart_connected: true
  heart_import_count: 3
  domain: "on"
"""
    )


def test_the_empty_project_registry_has_an_empty_list() -> None:
    read = yaml.safe_load(_file("project", []))

    assert read["projects"] == []
    assert set(read["stats"].values()) == {0}


@pytest.mark.parametrize(
    ("column", "value", "key", "shown"),
    [
        ("key", None, "name", "Apollo"),
        ("type", None, "classification", "project"),
        ("type", "", "classification", ""),
        ("status", None, "status", "active"),
        ("status", "", "status", ""),
        ("url", None, "github_url", None),
        ("url", "", "github_url", ""),
        ("domain", None, "domain", None),
        ("domain", "", "domain", ""),
    ],
)
def test_null_and_empty_values_are_shown(column: str, value: str | None, key: str, shown: str | None) -> None:
    assert _project(Inputs(), **{column: value})[key] == shown


def test_an_override_wins_for_the_fields_that_it_sets() -> None:
    key = "https://github.com/acme/apollo"
    empty, full = Override(), Override(("/o",), "n", "retired")
    clones = {key: "/clone"}

    assert _project(Inputs(overrides={key: empty}, clones=clones))["local_paths"] == ["/clone"]
    assert _project(Inputs(overrides={key: empty}))["status"] == "active"
    assert _project(Inputs(overrides={key: full}, clones=clones))["local_paths"] == ["/o"]
    assert _project(Inputs(overrides={key: full}))["status"] == "retired"
    assert _project(Inputs(overrides={key: full}))["notes"] == "n"


def test_an_excluded_project_is_left_out_and_not_counted() -> None:
    read = yaml.safe_load(
        _file("project", [(A, "Apollo", None, None, None, URL, None)], Inputs(excluded=frozenset({"apollo"})))
    )

    assert read["projects"] == []
    assert read["stats"]["total"] == 0


@pytest.mark.parametrize(
    ("status", "url", "paths", "counted"),
    [
        ("active", URL, ("/p",), {"github", "linked", "heart_disconnected"}),
        ("active", URL, (), {"github", "cloud_only"}),
        ("snapshot", URL, ("/p",), {"github", "local_snapshot", "heart_disconnected"}),
        ("Snapshot", URL, (), {"github", "cloud_only"}),
        ("snapshot", None, (), {"local_snapshot", "virtual"}),
        ("active", None, (), {"virtual"}),
        ("active", "", (), {"virtual"}),
    ],
)
def test_the_statistics_count_each_project_in_its_categories(
    status: str, url: str | None, paths: tuple[str, ...], counted: set[str]
) -> None:
    inputs = Inputs(overrides={"https://github.com/acme/apollo": Override(paths)})

    stats = yaml.safe_load(_file("project", [(A, "Apollo", None, None, status, url, None)], inputs))["stats"]

    assert {name for name, number in stats.items() if number} == counted | {"total"}


def test_an_element_that_only_cmp_knows_byte_by_byte() -> None:
    element = {
        "description": None, "name": "Apollo", "owner": {"id": "", "login": "Acme"}, "updatedAt": None,
        "url": "https://github.com/Acme/Apollo", "visibility": "unknown", "uuid": A, "uuids": [A, B],
        "source": "cmp",
    }  # fmt: skip
    rows: list[Row] = [
        (B, "b", "git@github.com:acme/apollo.git"),
        (A, "a", "https://github.com/Acme/Apollo/"),
    ]

    assert _file("git", rows).decode() == json.dumps([element], indent=4)


def test_an_adopted_element_keeps_unknown_fields_and_gets_its_project() -> None:
    known = {
        "name": "apollo",
        "url": URL,
        "stars": {"n": [1, 2.5]},
        "owner": {"id": "7", "login": "acme", "x": None},
    }
    inputs = Inputs(repositories={"https://github.com/acme/apollo": known})

    [element] = json.loads(_file("git", [(A, "Apollo", URL)], inputs))

    assert [*element][:6] == ["description", "name", "owner", "updatedAt", "url", "visibility"]
    assert element["stars"] == {"n": [1, 2.5]}
    assert element["owner"] == {"id": "7", "login": "acme", "x": None}
    assert element["uuid"] == A
    assert "uuids" not in element


@pytest.mark.parametrize(("source", "last"), [("gone", "source"), ("import", "uuid")])
def test_a_repository_that_is_gone_from_github_is_marked_at_the_end(source: str, last: str) -> None:
    """A `source` that another program wrote stays in its place."""
    known = {"name": "apollo", "url": URL, "source": source, "stars": 1}
    inputs = Inputs(repositories={"https://github.com/acme/apollo": known})

    [element] = json.loads(_file("git", [(A, "Apollo", URL)], inputs))

    assert element["source"] == source
    assert [*element][-1] == last


def test_the_fast_rendering_and_the_library_write_the_same_bytes() -> None:
    known = {
        "description": 'd \u2028 "',
        "name": "n",
        "owner": {"id": "1", "login": "l"},
        "updatedAt": "u",
        "url": URL,
        "visibility": "PUBLIC",
    }
    inputs = Inputs(repositories={"https://github.com/acme/apollo": known})

    assert _file("git", [], inputs).decode() == json.dumps([known], indent=4, ensure_ascii=False)


@given(st.dictionaries(st.text(), VALUES))
def test_any_repository_is_written_as_by_the_library(more: dict[str, Any]) -> None:
    """Numbers, deep nesting and unusual text are rendered by the library; the result must be the same."""
    known = {"description": None, "name": "n", "owner": {"id": "1", "login": "l"}} | {
        "updatedAt": "u", "url": URL, "visibility": "PUBLIC",
        **{f"x{name}": value for name, value in more.items()},
    }  # fmt: skip
    inputs = Inputs(repositories={"https://github.com/acme/apollo": known})

    assert _file("git", [], inputs).decode() == json.dumps([known], indent=4, ensure_ascii=False)


@pytest.mark.parametrize(
    "url", [None, "", "https://gitlab.com/acme/apollo", "https://github.com/acme", "nonsense", "5"]
)
def test_a_project_that_is_not_on_github_is_not_in_the_inventory(url: str | None) -> None:
    assert _file("git", [(A, "Apollo", url)]) == b"[]"


def test_a_row_that_cannot_be_shown_does_not_hold_back_others() -> None:
    registry = Projection(scanners()["project"], Inputs())
    registry.rebuild([(A, None, None, None, None, None, None), (B, "fine", None, None, None, None, None)])

    assert registry.quarantined_projects() == {A: "ValueError: its name is NULL"}
    assert list(registry.document.entry_keys()) == [B]


FOURTH = """
from omnicdc.formats.inventory import Elements
from omnicdc.formats.scalars import json_text
from omnicdc.model import Entry, Frame
from omnicdc.registries.scanner import Scanner

class Owners(Scanner):
    name, path, rank = "owners", "governance/registry/owners.json", 40
    layout = Elements()
    query = "select id, metadata_ ->> 'owner' as owner from {projects}"

    def render(self, entry_key, rows, inputs):
        return Entry((entry_key, ""), f"{json_text(rows[0][1])},".encode())

    def frame(self, count, counters, stamp):
        return Frame(b"[", b"]", b",") if count else Frame(b"[]", b"")

SCANNER = Owners()
"""


@pytest.fixture
def fourth(tmp_path: Path) -> Iterator[None]:
    """Add a fourth scanner: one module on the package's path."""
    (tmp_path / "owners.py").write_text(FOURTH)
    package.__path__.append(str(tmp_path))
    package.scanners.cache_clear()
    yield
    package.__path__.remove(str(tmp_path))
    package.scanners.cache_clear()


@pytest.mark.usefixtures("fourth")
def test_a_fourth_scanner_is_one_module_and_nothing_else() -> None:
    assert list(scanners()) == ["cmp_projects", "cmp_agents", "project", "git", "owners"]
    assert "metadata_.owner" in derive(scanners().values()).fields_of("projects")
    assert _file("owners", [(B, "b"), (A, "a")]) == b'["a","b"]'

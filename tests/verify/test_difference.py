"""The difference between what a registry should hold and a file is told entry by entry, whatever the file."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.sample_files import IDS, SCANNERS, STAMP, project, registry_of, rows, written

from omnicdc.formats.item import ABSENT, compare
from omnicdc.model import Inputs
from omnicdc.verify.difference import MAX_LINE_CHARS, RegistryDifference, differences, unified, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from omnicdc.registries.projection import Projection
    from omnicdc.verify.difference import EntryDifference

states = st.dictionaries(st.sampled_from(IDS), rows, max_size=5)


def entry_keys(entries: Iterable[EntryDifference]) -> list[str]:
    return sorted(entry.entry_key for entry in entries)


def kinds(found: RegistryDifference) -> tuple[list[str], list[str], list[str]]:
    return entry_keys(found.added), entry_keys(found.changed), entry_keys(found.removed)


def by_reading(registry: Projection, data: bytes) -> tuple[list[str], list[str], list[str]]:
    """Work the same out by parsing both files as a whole."""
    layout = registry.scanner.layout
    ours, theirs = (
        {item.entry_key: item.fields for item in layout.items(layout.parse(each))}
        for each in (written(registry), data)
    )
    changed = [
        entry_key for entry_key in ours.keys() & theirs.keys() if compare(ours[entry_key], theirs[entry_key])
    ]
    return sorted(ours.keys() - theirs.keys()), sorted(changed), sorted(theirs.keys() - ours.keys())


def in_another_way(name: str, data: bytes) -> bytes:
    if name == "project":
        return yaml.safe_dump(yaml.load(data, yaml.CSafeLoader)).encode()
    return json.dumps(json.loads(data), sort_keys=True).encode()


def three(scanner: str, **fields: object) -> Projection:
    projects = {one: project(f"p{one[-2:]}") for one in IDS[:3]}
    return registry_of(scanner, projects | ({IDS[1]: project("p01") | fields} if fields else {}), Inputs())


@given(states, states, st.sampled_from(SCANNERS), st.booleans())
def test_it_is_what_reading_both_files_would_give(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str, another_way: bool
) -> None:
    registry, data = registry_of(name, ours), written(registry_of(name, theirs))
    data = in_another_way(name, data) if another_way else data
    expected = by_reading(registry, data)

    found = differences(registry, data)
    assert kinds(found) == expected
    assert found.rewritten == (data != written(registry))
    assert (found.expected, found.fault) == (len(registry.document), None)


@pytest.mark.parametrize("name", SCANNERS)
def test_the_time_of_generation_makes_no_difference(name: str) -> None:
    data = written(three(name)).replace(STAMP.encode(), b"2001-01-01T00:00:00+00:00")

    assert not differences(three(name), data).rewritten


@pytest.mark.parametrize("name", SCANNERS)
def test_without_a_file_everything_is_missing(name: str) -> None:
    found = differences(three(name), None)

    assert (len(found.added), found.found, found.rewritten) == (3, 0, True)
    assert found.fault
    assert "does not exist" in found.fault.reason


def test_a_change_is_told_field_by_field() -> None:
    found = differences(three("project", status="retired"), written(three("project")))

    [entry] = found.changed
    assert entry.fields == {"status": ("retired", "active")}
    assert not found.header


def test_a_field_of_another_hand_is_a_change() -> None:
    data = written(three("cmp_projects")).replace(b'"source"', b'"by_hand": 1,\n      "source"', 1)

    [entry] = differences(three("cmp_projects"), data).changed
    assert entry.fields == {"by_hand": (ABSENT, 1)}


def test_a_wrong_count_in_the_header_is_told() -> None:
    for name, old, new, expected in (
        ("cmp_projects", b'"count": 3', b'"count": 4', {"count": (3, 4)}),
        ("project", b"total: 3", b"total: 4", ["stats"]),
    ):
        found = differences(three(name), written(three(name)).replace(old, new))
        assert (list(found.header) if isinstance(expected, list) else found.header) == expected
        assert found.entries == ()


@pytest.mark.parametrize("name", SCANNERS)
def test_an_entry_that_is_there_twice_is_told(name: str) -> None:
    data = written(three(name))
    layout = three(name).scanner.layout
    entry = layout.entry(layout.split(data).cores[0])
    again = data.replace(entry, entry + (layout.comma or b"") + entry)
    expected = 0 if name == "cmp_projects" else 1

    found = differences(three(name), again)
    assert len(found.removed) >= expected
    assert found.rewritten


@pytest.mark.parametrize("name", SCANNERS)
def test_another_order_is_rewritten_and_differs_in_nothing(name: str) -> None:
    layout, data = three(name).scanner.layout, written(three(name))
    first, *_, last = map(layout.entry, layout.split(data).cores)
    swapped = data.replace(first, b"@").replace(last, first).replace(b"@", last)

    found = differences(three(name), swapped)
    assert (found.entries, found.header, found.rewritten) == ((), {}, True)
    assert "in another order or layout" in list(unified(found))[-1]


@pytest.mark.parametrize("name", SCANNERS)
def test_of_a_broken_file_what_can_be_understood_is_compared(name: str) -> None:
    registry = three(name)
    layout, data = registry.scanner.layout, written(registry)
    cores = layout.split(data).cores
    broken = data[: data.index(cores[1]) + len(cores[1]) // 2]

    found = differences(registry, broken)
    assert found.fault
    assert "does not parse" in found.fault.reason
    assert {layout.entry_key(core) for core in cores[2:]} <= {*entry_keys(found.added)}
    assert layout.entry_key(cores[0]) not in entry_keys(found.entries)


def test_people_see_what_would_change_and_nothing_else() -> None:
    expected = [
        "--- canonical_projects_uuids.json, as it is",
        "+++ canonical_projects_uuids.json, as CMP has it",
        f"@@ {IDS[1]} @@",
        '       "domain": null,',
        '-      "status": "active",',
        '+      "status": "retired",',
        '       "source": "cmp_db"',
    ]

    found = differences(three("cmp_projects", status="retired"), written(three("cmp_projects")))
    assert list(unified(found)) == expected


def test_two_versions_of_a_file_are_compared_entry_by_entry() -> None:
    layout = three("cmp_projects").scanner.layout
    before, after = written(three("cmp_projects")), written(three("cmp_projects", status="retired"))
    expected = [
        "--- mirror, before",
        "+++ mirror, after",
        f"@@ {IDS[1]} @@",
        '       "domain": null,',
        '-      "status": "active",',
        '+      "status": "retired",',
        '       "source": "cmp_db"',
    ]

    found = versions("mirror", layout, before, after)
    assert list(unified(found, titles=("before", "after"))) == expected
    assert list(unified(versions("mirror", layout, before, before))) == []


def test_people_see_what_is_wrong_in_the_header() -> None:
    data = written(three("cmp_projects")).replace(b'"count": 3', b'"count": 4')

    assert list(unified(differences(three("cmp_projects"), data)))[2:] == ["-count: 4", "+count: 3"]


def test_people_are_told_how_many_more_there_are() -> None:
    registry = registry_of("project", {one: project(f"p{one[-2:]}") for one in IDS}, Inputs())

    lines = list(unified(differences(registry, None), limit=2))
    assert sum(line.startswith("@@") for line in lines) == 2
    assert lines[-1] == "# 10 more entries differ"


def test_where_all_are_shown_no_more_are_told_of() -> None:
    registry = registry_of("project", {one: project(f"p{one[-2:]}") for one in IDS}, Inputs())

    lines = list(unified(differences(registry, None), limit=len(IDS)))
    assert sum(line.startswith("@@") for line in lines) == len(IDS)
    assert not any("more entries" in line for line in lines)


def test_of_a_file_that_does_not_parse_people_are_told_why_first() -> None:
    data = written(three("cmp_projects"))

    assert list(unified(differences(three("cmp_projects"), data[:-5])))[2].startswith(
        "# the file does not parse"
    )


@pytest.mark.parametrize("name", SCANNERS)
def test_of_a_file_in_another_layout_people_see_the_values(name: str) -> None:
    """Its lines cannot be compared with ours, so both sides are shown as JSON."""
    theirs = in_another_way(name, written(three(name)))
    url = "https://github.com/acme/new"

    lines = list(unified(differences(three(name, url=url), theirs)))
    assert any(line.startswith("+") and f'url": "{url}"' in line for line in lines[2:])
    assert all(line.lstrip("-+ ")[0] in '"{}@' for line in lines[2:])


def test_nothing_is_shown_where_nothing_would_change() -> None:
    assert list(unified(differences(three("git"), written(three("git"))))) == []


def test_no_line_is_endless_and_none_is_obeyed_by_a_terminal() -> None:
    """JSON leaves raw what moves the cursor or turns the direction of writing."""
    registry = three("cmp_projects", name="x" * 100_000 + "\x9b31m", key="\x9b31m\u202e\x7f", domain="\u2028")

    lines = list(unified(differences(registry, written(three("cmp_projects")))))
    assert max(map(len, lines)) <= MAX_LINE_CHARS + 1
    assert all(line.replace("…", "").isprintable() for line in lines)
    assert any(r"\x9b31m\u202e\x7f" in line for line in lines)


def test_a_repository_of_thousands_is_not_compared_line_by_line() -> None:
    many = {f"6f1c9a52-0000-4000-8000-{number:012}": project("x") for number in range(3000)}
    ours, theirs = (
        registry_of("git", many, Inputs()),
        registry_of("git", dict(list(many.items())[1:]), Inputs()),
    )
    started = time.process_time()

    assert list(unified(differences(ours, written(theirs))))[-2:] == ["-3014 lines", "+3015 lines"]
    assert time.process_time() - started < 20  # seconds; line by line it takes minutes

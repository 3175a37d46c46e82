"""The difference between a registry and its file is reported entry by entry, for any content of the file."""

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
    """Return the expected result, by parsing both files as a whole."""
    layout = registry.scanner.layout
    ours, theirs = (
        {item.entry_key: item.fields for item in layout.items(layout.parse(each))}
        for each in (written(registry), data)
    )
    changed = [
        entry_key for entry_key in ours.keys() & theirs.keys() if compare(ours[entry_key], theirs[entry_key])
    ]
    return sorted(ours.keys() - theirs.keys()), sorted(changed), sorted(theirs.keys() - ours.keys())


def reformatted(name: str, data: bytes) -> bytes:
    if name == "project":
        return yaml.safe_dump(yaml.load(data, yaml.CSafeLoader)).encode()
    return json.dumps(json.loads(data), sort_keys=True).encode()


def sample(scanner: str, **fields: object) -> Projection:
    projects = {one: project(f"p{one[-2:]}") for one in IDS[:3]}
    return registry_of(scanner, projects | ({IDS[1]: project("p01") | fields} if fields else {}), Inputs())


@given(states, states, st.sampled_from(SCANNERS), st.booleans())
def test_the_difference_is_the_same_as_by_parsing_both_files(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str, reformat: bool
) -> None:
    registry, data = registry_of(name, ours), written(registry_of(name, theirs))
    data = reformatted(name, data) if reformat else data
    expected = by_reading(registry, data)

    found = differences(registry, data)
    assert kinds(found) == expected
    assert found.rewritten == (data != written(registry))
    assert (found.expected, found.fault) == (len(registry.document), None)


@pytest.mark.parametrize("name", SCANNERS)
def test_the_time_of_generation_makes_no_difference(name: str) -> None:
    data = written(sample(name)).replace(STAMP.encode(), b"2001-01-01T00:00:00+00:00")

    assert not differences(sample(name), data).rewritten


@pytest.mark.parametrize("name", SCANNERS)
def test_without_a_file_every_entry_is_missing(name: str) -> None:
    found = differences(sample(name), None)

    assert (len(found.added), found.found, found.rewritten) == (3, 0, True)
    assert found.fault
    assert "does not exist" in found.fault.reason


def test_a_change_is_reported_field_by_field() -> None:
    found = differences(sample("project", status="retired"), written(sample("project")))

    [entry] = found.changed
    assert entry.fields == {"status": ("retired", "active")}
    assert not found.header


def test_an_unknown_field_is_a_change() -> None:
    data = written(sample("cmp_projects")).replace(b'"source"', b'"by_hand": 1,\n      "source"', 1)

    [entry] = differences(sample("cmp_projects"), data).changed
    assert entry.fields == {"by_hand": (ABSENT, 1)}


def test_a_wrong_count_in_the_header_is_reported() -> None:
    for name, old, new, expected in (
        ("cmp_projects", b'"count": 3', b'"count": 4', {"count": (3, 4)}),
        ("project", b"total: 3", b"total: 4", ["stats"]),
    ):
        found = differences(sample(name), written(sample(name)).replace(old, new))
        assert (list(found.header) if isinstance(expected, list) else found.header) == expected
        assert found.entries == ()


@pytest.mark.parametrize("name", SCANNERS)
def test_a_duplicate_entry_is_reported(name: str) -> None:
    data = written(sample(name))
    layout = sample(name).scanner.layout
    entry = layout.entry(layout.split(data).cores[0])
    doubled = data.replace(entry, entry + (layout.comma or b"") + entry)

    found = differences(sample(name), doubled)
    assert len(found.removed) == 1
    assert found.rewritten


@pytest.mark.parametrize("name", SCANNERS)
def test_another_order_would_be_rewritten_without_a_difference(name: str) -> None:
    layout, data = sample(name).scanner.layout, written(sample(name))
    first, *_, last = map(layout.entry, layout.split(data).cores)
    swapped = data.replace(first, b"@").replace(last, first).replace(b"@", last)

    found = differences(sample(name), swapped)
    assert (found.entries, found.header, found.rewritten) == ((), {}, True)
    assert "in another order or layout" in list(unified(found))[-1]


@pytest.mark.parametrize("name", SCANNERS)
def test_the_readable_part_of_a_broken_file_is_compared(name: str) -> None:
    registry = sample(name)
    layout, data = registry.scanner.layout, written(registry)
    cores = layout.split(data).cores
    broken = data[: data.index(cores[1]) + len(cores[1]) // 2]

    found = differences(registry, broken)
    assert found.fault
    assert "does not parse" in found.fault.reason
    assert {layout.entry_key(core) for core in cores[2:]} <= {*entry_keys(found.added)}
    assert layout.entry_key(cores[0]) not in entry_keys(found.entries)


def test_the_output_shows_only_what_would_change() -> None:
    expected = [
        "--- canonical_projects_uuids.json, as it is",
        "+++ canonical_projects_uuids.json, as CMP has it",
        f"@@ {IDS[1]} p01 @@",
        '       "domain": null,',
        '-      "status": "active",',
        '+      "status": "retired",',
        '       "source": "cmp_db"',
    ]

    found = differences(sample("cmp_projects", status="retired"), written(sample("cmp_projects")))
    assert list(unified(found)) == expected


def test_two_versions_of_a_file_are_compared_entry_by_entry() -> None:
    layout = sample("cmp_projects").scanner.layout
    before, after = written(sample("cmp_projects")), written(sample("cmp_projects", status="retired"))
    expected = [
        "--- mirror, before",
        "+++ mirror, after",
        f"@@ {IDS[1]} p01 @@",
        '       "domain": null,',
        '-      "status": "active",',
        '+      "status": "retired",',
        '       "source": "cmp_db"',
    ]

    found = versions("mirror", layout, before, after)
    assert list(unified(found, titles=("before", "after"))) == expected
    assert list(unified(versions("mirror", layout, before, before))) == []


def test_the_output_shows_a_wrong_header() -> None:
    data = written(sample("cmp_projects")).replace(b'"count": 3', b'"count": 4')

    assert list(unified(differences(sample("cmp_projects"), data)))[2:] == ["-count: 4", "+count: 3"]


def test_beyond_the_limit_the_output_counts_the_other_entries() -> None:
    registry = registry_of("project", {one: project(f"p{one[-2:]}") for one in IDS}, Inputs())

    lines = list(unified(differences(registry, None), limit=2))
    assert sum(line.startswith("@@") for line in lines) == 2
    assert lines[-1] == "# 10 more entries differ"


def test_within_the_limit_the_output_counts_no_other_entries() -> None:
    registry = registry_of("project", {one: project(f"p{one[-2:]}") for one in IDS}, Inputs())

    lines = list(unified(differences(registry, None), limit=len(IDS)))
    assert sum(line.startswith("@@") for line in lines) == len(IDS)
    assert not any("more entries" in line for line in lines)


def test_a_broken_file_is_reported_with_the_reason_first() -> None:
    data = written(sample("cmp_projects"))

    assert list(unified(differences(sample("cmp_projects"), data[:-5])))[2].startswith(
        "# the file does not parse"
    )


@pytest.mark.parametrize("name", SCANNERS)
def test_for_a_file_in_another_layout_the_values_are_shown(name: str) -> None:
    """The lines cannot be compared with those of omnicdc, so both sides are shown as JSON."""
    theirs = reformatted(name, written(sample(name)))
    url = "https://github.com/acme/new"

    lines = list(unified(differences(sample(name, url=url), theirs)))
    assert any(line.startswith("+") and f'url": "{url}"' in line for line in lines[2:])
    assert all(line.lstrip("-+ ")[0] in '"{}@' for line in lines[2:])


def test_without_a_difference_the_output_is_empty() -> None:
    assert list(unified(differences(sample("git"), written(sample("git"))))) == []


def test_lines_are_short_and_cannot_control_the_terminal() -> None:
    """JSON does not escape characters that move the cursor or change the direction of text."""
    registry = sample(
        "cmp_projects", name="x" * 100_000 + "\x9b31m", key="\x9b31m\u202e\x7f", domain="\u2028"
    )

    lines = list(unified(differences(registry, written(sample("cmp_projects")))))
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

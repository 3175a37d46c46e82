"""Entries are found by their bytes in files of the scanners, whatever CMP holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sample_files import IDS, SCANNERS, entries_of, project, read_back, registry_of, rows, written

from omnicdc.formats.canonical import Members
from omnicdc.formats.inventory import Elements
from omnicdc.formats.item import ABSENT, compare
from omnicdc.formats.projects import Items
from omnicdc.formats.yaml_values import own_fields
from omnicdc.model import Inputs
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omnicdc.formats.layout import Layout


def test_each_scanner_has_the_layout_of_its_registry() -> None:
    expected = {"cmp_projects": Members, "cmp_agents": Members, "project": Items, "git": Elements}

    assert {name: type(scanner.layout) for name, scanner in scanners().items()} == expected


@given(st.dictionaries(st.sampled_from(IDS), rows, max_size=6), st.sampled_from(SCANNERS))
def test_a_file_is_split_into_its_entries_whatever_they_hold(
    projects: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    registry = registry_of(name, projects)
    layout, data = registry.scanner.layout, written(registry)
    expected = sorted(registry.document.get(entry_key) or b"" for entry_key in registry.document.entry_keys())

    split = layout.split(data)
    assert sorted(layout.entry(core) + layout.comma for core in split.cores) == expected
    assert (
        data
        == split.head
        + (b"\n" if split.cores else b"")
        + (layout.comma.join(map(layout.entry, split.cores)))
        + split.foot
    )
    assert list(layout.items(layout.parse(layout.frame(split)))) == []


@given(st.dictionaries(st.sampled_from(IDS), rows, max_size=6), st.sampled_from(SCANNERS))
def test_a_single_entry_is_read_as_it_is_in_the_file(
    projects: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    registry = registry_of(name, projects)
    layout, data = registry.scanner.layout, written(registry)
    cores = layout.split(data).cores
    expected = read_back(name, data)

    assert [layout.item(core).fields for core in cores] == expected
    assert [layout.item(core) for core in cores] == list(layout.items(layout.parse(data)))
    assert {layout.entry_key(core) for core in cores} == registry.document.entry_keys()


@given(
    st.dictionaries(st.sampled_from(IDS), rows, max_size=6), st.sampled_from(SCANNERS), st.sampled_from(IDS)
)
def test_a_project_is_found_by_its_id_in_its_entries_only(
    projects: Mapping[str, Mapping[str, Any]], name: str, wanted: str
) -> None:
    registry = registry_of(name, projects)
    layout, data = registry.scanner.layout, written(registry)
    expected = [item for item in layout.items(layout.parse(data)) if wanted in item.projects]

    found = [layout.item(core) for core in layout.mentioning(data, [wanted.encode()])]
    assert [item for item in found if wanted in item.projects] == expected


@pytest.mark.parametrize("name", SCANNERS)
def test_an_entry_is_found_in_a_part_of_the_file(name: str) -> None:
    """The blocks of the manifest hold whole entries. Only the blocks with wanted entries are read."""
    registry = registry_of(name, {one: project(f"p{one[-2:]}") for one in IDS}, Inputs())
    layout = registry.scanner.layout
    entries = list(entries_of(registry).values())
    expected = [layout.core(entries[4]), layout.core(entries[7])]

    for part in (entries[3:9], entries[4:8], [entries[4], entries[7]]):
        data = b"\n" + b"".join(part)
        for end in (data, data.removesuffix(b",\n")):
            assert layout.mentioning(end, [IDS[4].encode(), IDS[7].encode()]) == expected


def test_a_repository_is_found_by_its_url_if_no_project_uses_it() -> None:
    elements = Inputs(
        repositories={
            "https://github.com/acme/rocket": {"name": "rocket", "url": "https://github.com/Acme/Rocket"}
        }
    )
    layout = scanners()["git"].layout
    [expected] = layout.items(layout.parse(written(registry_of("git", {IDS[0]: project()}, elements))))
    data = written(registry_of("git", {}, elements))

    [core] = layout.mentioning(data, layout.needles(expected))
    assert layout.item(core).entry_key == expected.entry_key == "https://github.com/acme/rocket"
    assert compare(expected.fields, layout.item(core).fields) == {"uuid": (IDS[0], ABSENT)}


def test_a_repository_names_all_its_projects() -> None:
    both = {
        IDS[1]: project("B", url="https://github.com/a/x"),
        IDS[0]: project("A", url="https://github.com/a/x"),
    }
    layout = scanners()["git"].layout

    [item] = layout.items(layout.parse(written(registry_of("git", both, Inputs()))))
    assert item.projects == (IDS[0], IDS[1])
    for one in item.projects:
        assert [
            layout.item(core)
            for core in layout.mentioning(written(registry_of("git", both, Inputs())), [one.encode()])
        ] == [item]


@pytest.mark.parametrize("name", SCANNERS)
def test_a_truncated_file_gives_the_entries_before_the_cut(name: str) -> None:
    registry = registry_of(name, {one: project(f"p{one[-2:]}") for one in IDS})
    layout, data = registry.scanner.layout, written(registry)
    whole = layout.split(data).cores
    places = range(len(data) // 3, len(data) - 1, 7)

    for place in places:
        cores = layout.split(data[:place]).cores
        assert cores[:-1] == whole[: len(cores) - 1]


def test_a_uuid_in_the_header_is_no_entry() -> None:
    """The namespace of the project registry is a UUID."""
    registry = registry_of("project", {one: project("p") for one in IDS[:2]})
    layout, data = registry.scanner.layout, written(registry)
    namespace = b"c9c22e70-3882-4503-9db6-353d2629000b"

    assert namespace in data
    assert layout.mentioning(data, [namespace]) == []
    assert len(layout.mentioning(data, [namespace, IDS[0].encode()])) == 1


@pytest.mark.parametrize(
    "entry",
    [
        b"- a", b"name: x\n  name: y", b"name:\n  key: x", b"name:", b"yes: x", b"name: 'x'", b"name: 1e3",
        b"name: x\n   key: y",
    ],
)  # fmt: skip
def test_yaml_that_omnicdc_never_writes_is_left_to_the_library(entry: bytes) -> None:
    assert own_fields(entry) is None


@pytest.mark.parametrize(
    ("name", "core"),
    [
        ("cmp_projects", b'a": 1'),
        ("cmp_projects", b'a": {},\n    "b": {'),
        ("cmp_projects", b"\xff"),
        ("git", b"\n        1"),
        ("git", b'"a": 1}, {"b": 2'),
        ("project", b"a"),
        ("project", b"a: 1\n- b: 2"),
        ("project", b"a: [\n"),
        ("project", b"a: \xff"),
    ],
)
def test_an_invalid_entry_is_refused(name: str, core: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        scanners()[name].layout.item(core)


@pytest.mark.parametrize("layout", [Members(), Elements(), Items()])
@pytest.mark.parametrize("parsed", [None, 1, "x", [1], {"uuids": [], "projects": {}}, {"uuids": {"a": 1}}])
def test_a_file_with_another_structure_is_refused(layout: Layout, parsed: object) -> None:
    def entries() -> Sequence[object]:
        return list(layout.items(parsed))

    with pytest.raises(ValueError, match="is no"):
        entries()

"""A file that does not parse is found, whatever is wrong with it. A file of another program may be valid."""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.sample_files import IDS, INPUTS, SCANNERS, project, read_back, registry_of, rows, written

from omnicdc.errors import RegistryError
from omnicdc.files.contents import Contents, ParseLimits, content, read_contents, understand
from omnicdc.files.manifest import describe
from omnicdc.filesystem.atomic import replace
from omnicdc.formats.item import same
from omnicdc.formats.projects import Items
from omnicdc.model import Inputs
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from omnicdc.model import Published
    from omnicdc.registries.projection import Projection

FRAGMENTS = [
    b"\n", b"- ", b"  ", b": ", b"'", b'"', b"#", b"&a ", b"*a", b"---\n", b"...\n", b"\t", b"[", b"{",
    b"|\n", b">\n", b"? ", b"!x ", b"%", b"\xff", b"\xc2\x85", b"\xef\xbb\xbf", b"\\", b",", b"null",
    b"- uuid: 1\n", b"\n\n", b"\r", b"  name: x\n", b"<<: ", b"@", b"`", b" ", b"\n- ", b"notes: 1\n",
]  # fmt: skip
READERS: dict[str, Callable[[bytes], Any]] = {
    "ruamel.yaml": lambda data: YAML(typ="safe", pure=True).load(data),
    "PyYAML": lambda data: yaml.load(data, yaml.SafeLoader),
}


def layout(name: str) -> Any:  # noqa: ANN401 - depends on the scanner
    return scanners()[name].layout


def items(contents: Contents) -> list[Mapping[str, object]]:
    """Return all entries as omnicdc reads them."""
    if contents.parsed is not None:
        return [item.fields for item in contents.layout.items(contents.parsed)]
    return [contents.layout.item(core).fields for core in contents.layout.split(contents.data).cores]


def understood(name: str, data: bytes) -> Contents | None:
    """Return the contents if omnicdc can parse them."""
    with suppress(RegistryError):
        return understand(layout(name), data)
    return None


def read(reader: str, data: bytes) -> Any:  # noqa: ANN401 - whatever it reads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return READERS[reader](data)


def damaged(data: bytes, seed: int) -> bytes:
    """Return the data with one or two random errors in it."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 2)):
        at, length = rng.randrange(len(data)), rng.randint(1, 60)
        copied = data[(start := rng.randrange(len(data))) : start + length]
        data = rng.choice(
            [
                data[:at] + rng.choice(FRAGMENTS) + data[at:],
                data[:at] + data[at + length % 6 + 1 :],
                data[:at] + copied + data[at:],
            ]
        )
    return data


@given(st.dictionaries(st.sampled_from(IDS), rows, max_size=4), st.sampled_from(SCANNERS))
def test_a_file_of_the_daemon_parses_to_its_entries(
    projects: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    data = written(registry_of(name, projects))
    expected = read_back(name, data)

    assert items(understand(layout(name), data)) == expected


@example(1366613, "PyYAML")
@given(st.integers(0, 2**32), st.sampled_from(sorted(READERS)))
def test_every_reader_reads_accepted_yaml_as_omnicdc_does(seed: int, reader: str) -> None:
    projects = {one: project(f"p{one[-2:]}", status="yes", key="#") for one in IDS[:3]}
    data = damaged(written(registry_of("project", projects, INPUTS)), seed)
    found = understood("project", data)
    if found is None:
        return
    try:
        entries = items(found)
    except ValueError:
        return  # it parses, but does not hold entries: a request for an entry raises this error
    expected = read(reader, data)["projects"] or []

    assert len(entries) == len(expected)
    for entry, other in zip(entries, expected, strict=True):
        if "to YAML 1.2" in entry:
            continue  # the YAML versions disagree on the whole entry, and the result says so
        agreed = {name: value for name, value in entry.items() if "to YAML 1.1" not in str(value)}
        assert all(same(value, other[name]) for name, value in agreed.items())


@pytest.mark.parametrize("name", SCANNERS)
def test_a_truncated_file_is_refused(name: str) -> None:
    """Half a YAML file often parses, and its readers do not notice.

    Only a cut exactly between two entries cannot be found.
    """
    data = written(registry_of(name, {one: project(f"p{one[-2:]}") for one in IDS[:3]}, Inputs()))
    dashes = [at + 1 for at in range(len(data)) if data.startswith(b"\n- ", at)]
    first, *borders = dashes or [0]

    passed = {cut for cut in range(1, len(data)) if understood(name, data[:cut])}
    assert {cut for cut in passed if not first < cut < min(borders, default=0)} == set(borders)
    assert not any(understood(name, data[:cut] + b"  ") for cut in range(1, len(data)))


class Indented(yaml.SafeDumper):
    """Indents lists below their key, as other tools do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def dump_with_ruamel(parsed: Any) -> str:  # noqa: ANN401 - anything
    stream = StringIO()
    YAML().dump(parsed, stream)
    return stream.getvalue()


def dump_with_aliases(parsed: Any) -> str:  # noqa: ANN401 - as above
    """Let all entries share one list, so that the YAML has an anchor and aliases."""
    for entry in parsed["projects"]:
        entry["local_paths"] = parsed["projects"][0]["local_paths"]
    return yaml.safe_dump(parsed, sort_keys=False)


OTHER_LAYOUTS: dict[str, Callable[[Any], str]] = {
    "sorted": yaml.safe_dump,
    "indented": lambda parsed: yaml.dump(parsed, Dumper=Indented, sort_keys=False, allow_unicode=True),
    "flow": lambda parsed: yaml.safe_dump(parsed, default_flow_style=True, width=80),
    "folded": lambda parsed: yaml.safe_dump(parsed, width=8),
    "aliases": dump_with_aliases,
    "ruamel.yaml": dump_with_ruamel,
}
MANUAL_EDITS = {
    "quoted": (b"origin: cmp_db", b"origin: 'cmp_db'"),
    "commented": (b"  origin: cmp_db\n", b"\n  # so\n  origin: cmp_db # yes\n"),
    "in a document": (b"version", b"# by hand\n---\nversion"),
}


@pytest.mark.parametrize("how", OTHER_LAYOUTS)
def test_yaml_with_another_layout_is_understood(how: str) -> None:
    data = written(registry_of("project", {one: project(f"p{one[-2:]}", status="no, and é") for one in IDS}))
    parsed = yaml.load(data, yaml.CSafeLoader)
    other = OTHER_LAYOUTS[how](parsed).encode()
    expected = yaml.load(other, yaml.CSafeLoader)["projects"]

    assert other != data
    assert items(understand(Items(), other)) == expected


@pytest.mark.parametrize("how", MANUAL_EDITS)
def test_manually_edited_yaml_is_understood(how: str) -> None:
    data = written(registry_of("project", {one: project(f"p{one[-2:]}") for one in IDS}))
    edited = data.replace(*MANUAL_EDITS[how])
    expected = read_back("project", data)

    assert edited != data
    assert items(understand(Items(), edited)) == expected


@pytest.mark.parametrize(
    "shape", [{"indent": None}, {"indent": 4}, {"sort_keys": True}, {"ensure_ascii": True}]
)
@pytest.mark.parametrize("name", ["cmp_projects", "git"])
def test_json_with_another_layout_is_understood(name: str, shape: dict[str, Any]) -> None:
    data = written(registry_of(name, {one: project(f"é{one[-2:]}") for one in IDS}))
    expected = read_back(name, data)

    assert items(understand(layout(name), json.dumps(json.loads(data), **shape).encode())) == expected


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cmp_projects", b""), ("cmp_projects", b"null"), ("cmp_projects", b"[]"), ("cmp_projects", b"{"),
        ("git", b"{}"), ("git", b"[1,]"), ("git", b"[NaN]"), ("git", b"\xef\xbb\xbf[]"), ("git", b'["\xff"]'),
        ("git", b"[" * 5000), ("git", b"[] x"), ("project", b""), ("project", b"null\n"),
        ("project", b"- a\n"), ("project", b"projects: []\n"), ("project", b"version: 1\nprojects: [\n"),
        ("project", b"version: 1\nprojects: []"), ("project", b"[" * 500 + b"\n"),
        ("project", b"a: &a [*a]\n"), ("project", b"version: 1.0.0\nversion: 2\nprojects: []\n"),
        ("project", b"version: 1\nprojects: []\na\tb\n"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_registry_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(RegistryError, match="does not parse") as refused:
        understand(layout(name), data)
    assert "omnicdc rebuild" in refused.value.hint


def test_a_value_that_yaml_versions_read_differently_is_shown_in_both() -> None:
    data = written(registry_of("project", {IDS[0]: project(status="on")}, Inputs())).replace(b'"on"', b"on")

    [entry] = items(understand(Items(), data))
    assert entry["status"] == {"to YAML 1.2": "on", "to YAML 1.1": True}


def large(size: int = ParseLimits().whole) -> bytes:
    """Return a registry file that is larger than `size`. Without a limit, its parsing takes minutes."""
    entry = written(registry_of("project", {IDS[0]: project()}))
    head, dash, rest = entry.partition(b"- ")
    data = head + (dash + rest) * (size // len(rest) + 1)
    assert len(data) > size
    return data


def test_a_large_manually_edited_file_is_not_parsed_as_a_whole() -> None:
    data = large()
    at = data.index(b"origin", len(data) // 2)
    edited = data[:at] + b"# by hand\n  " + data[at:]
    started = time.process_time()

    assert understand(Items(), edited).parsed is None
    assert time.process_time() - started < 20  # seconds; the parsing alone takes a minute


def test_a_large_file_with_another_layout_is_reported_as_not_parsed() -> None:
    """The test before this one uses the real limits."""
    other = large(100_000).replace(b"origin: cmp_db", b"origin: 'cmp_db'")

    with pytest.raises(RegistryError, match=f"{len(other)} bytes laid out in another way take too long"):
        understand(Items(), other, ParseLimits(whole=100_000, entries=10_000))


def test_a_large_file_with_one_broken_entry_is_refused_with_the_line() -> None:
    data = large()
    at = data.index(b"origin", len(data) // 2)
    line = data.count(b"\n- ", 0, at) and data.count(b"\n", 0, data.rindex(b"\n- ", 0, at)) + 2

    with pytest.raises(RegistryError, match=f"line {line} "):
        understand(Items(), data[:at] + b"[" + data[at:])


def publish(root: Path, registry: Projection) -> Published:
    """Publish a registry. Return what the manifest would hold about it."""
    path, document = registry.scanner.path, registry.document
    frame = registry.scanner.frame(len(document), document.counters, "2026-11-22T20:59:55.573397+00:00")
    put = replace(root, path, document.parts(frame))
    return describe(document.digests(frame), put, len(document))


@pytest.mark.parametrize("name", SCANNERS)
def test_only_the_blocks_of_the_wanted_entry_are_read(name: str, tmp_path: Path) -> None:
    ids = [f"6f1c9a52-0000-4000-8000-{number:012}" for number in range(2000)]
    registry = registry_of(name, {one: project(f"p{one[-4:]}") for one in ids}, Inputs())
    described, path = publish(tmp_path, registry), tmp_path / registry.scanner.path

    for wanted in (ids[0], ids[999], ids[-1]):
        found = read_contents(layout(name), path, described, [wanted.encode()])
        assert found
        [item] = found.items(wanted, "", [wanted.encode()])
        assert item.projects == (wanted,)
        assert len(found.data) < path.stat().st_size // 2


@pytest.mark.parametrize("name", SCANNERS)
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_file_that_differs_from_the_published_one_is_read_and_checked(
    name: str, where: int, tmp_path: Path
) -> None:
    """One byte in any block is changed. Time and size are as before."""
    registry = registry_of(name, {one: project(f"p{one[-2:]}") for one in IDS})
    described, path = publish(tmp_path, registry), tmp_path / registry.scanner.path
    data, before = bytearray(path.read_bytes()), path.stat()
    data[[0, len(data) // 2, len(data) - 1][where]] ^= 0x80
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(RegistryError, match="does not parse"):
        read_contents(layout(name), path, described, [IDS[0].encode()])


def test_a_missing_file_is_none_and_a_pipe_or_a_directory_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()

    assert read_contents(Items(), tmp_path / "nothing", None, []) is None
    assert read_contents(Items(), tmp_path / "pipe" / "below", None, []) is None
    assert content(tmp_path / "nothing") is None
    for name in ("pipe", "directory"):
        with pytest.raises(RegistryError, match=name):
            read_contents(Items(), tmp_path / name, None, [])
        with pytest.raises(RegistryError, match=name):
            content(tmp_path / name)

"""Two versions of the registries differ in the same entries, whether equal blocks are skipped or not."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sample_files import IDS, SCANNERS, STAMP, project, registry_of, rows

from omnicdc.answers.kept.comparison import compare
from omnicdc.answers.kept.reference import resolve
from omnicdc.answers.kept.version import PresentFiles
from omnicdc.config.settings import Config
from omnicdc.errors import ConfigError
from omnicdc.files.kept.places import RecordName
from omnicdc.model import Entry
from omnicdc.registries.document import Document
from omnicdc.verify.difference import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.registries.projection import Projection
    from omnicdc.verify.difference import EntryDifference

states = st.fixed_dictionaries(dict.fromkeys(IDS, rows)) | st.dictionaries(st.sampled_from(IDS), rows)
changes = st.dictionaries(st.sampled_from(IDS), rows, max_size=2)

NAMES = [RecordName(1, 4), RecordName(2, 6), RecordName(3, 7), RecordName(4, 7)]


def in_small_blocks(registry: Projection) -> Document:
    """Return the registry's document in blocks of two entries on average."""
    entries = [
        (key[2], Entry(key[:2], data, counters))
        for block in registry.document._blocks
        for key, counters, (_, data) in zip(block.keys, block.counters, block.entries(), strict=True)
    ]
    return Document.from_entries(entries, block_size=2)


def as_published(registry: Projection, stamp: str = STAMP) -> PresentFiles:
    """Return the registry as a version, in small blocks."""
    document = in_small_blocks(registry)
    frame = registry.scanner.frame(len(document), document.counters, stamp)
    parts = [(sha256(part).hexdigest(), bytes(part)) for part in document.parts(frame)]
    return PresentFiles(Path(), {registry.scanner.path: parts})


def sides(entry: EntryDifference) -> tuple[str, bytes, bytes]:
    ours, theirs = (side.data if side else b"" for side in (entry.found, entry.expected))
    return entry.entry_key, ours, theirs


@given(states, changes, st.sets(st.sampled_from(IDS), max_size=2), st.sampled_from(SCANNERS))
def test_without_equal_blocks_the_difference_is_that_of_the_whole_files(
    old: Mapping[str, Any], changed: Mapping[str, Any], gone: set[str], name: str
) -> None:
    new = {key: row for key, row in ({**old, **changed}).items() if key not in gone}
    before, after = registry_of(name, old), registry_of(name, new)
    layout, path = before.scanner.layout, before.scanner.path
    one, other = as_published(before), as_published(after, STAMP.replace("2026", "2027"))
    whole = [b"".join(part for _, part in side.parts[path]) for side in (one, other)]
    expected = versions(name, layout, *whole)

    found = compare(Config(), one, other)
    if not (expected.entries or expected.header):
        assert found == []
        return
    [registry] = found
    assert sorted(map(sides, registry.difference.entries)) == sorted(map(sides, expected.entries))
    assert registry.difference.header == expected.header


def test_blocks_that_both_versions_have_are_not_read() -> None:
    projects = {one: project(f"p{one[-2:]}") for one in IDS}
    before, after = (
        registry_of("project", projects | {IDS[0]: project("p00", status=status)}) for status in ("a", "b")
    )
    read: list[str] = []

    class Recorded(PresentFiles):
        def data(self, path: str, wanted: Any = None) -> list[tuple[str, bytes]]:  # noqa: ANN401
            found = super().data(path, wanted)
            read.extend(digest for digest, _ in found)
            return found

    one, other = (Recorded(Path(), as_published(it).parts) for it in (before, after))
    [registry] = compare(Config(), one, other)

    assert registry.counts == {"changed": 1, "added": 0, "removed": 0}
    assert len(read) < sum(len(it.parts[before.scanner.path]) for it in (one, other)) / 2 + 2


def test_a_registry_that_one_version_lacks_and_one_that_is_not_configured_are_named() -> None:
    projection = registry_of("project", {IDS[0]: project()})
    published = as_published(projection)
    nothing = PresentFiles(Path(), {})
    unknown, other = (PresentFiles(Path(), {"a/old.map": [(text, text.encode())]}) for text in "xy")

    [added], [removed] = compare(Config(), nothing, published), compare(Config(), published, nothing)
    [changed] = compare(Config(), unknown, other)
    assert [it.state for it in (added, removed, changed)] == ["added", "removed", "changed"]
    assert changed.difference.fault
    assert "omnicdc show GENERATION:old.map" in changed.difference.fault.reason
    with pytest.raises(ConfigError, match="there is no registry 'git'") as refused:
        compare(Config(), nothing, published, ["git"])
    assert projection.scanner.registry in refused.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4", 0), ("6", 1), ("7", 3), ("@", 3), ("@~", 2), ("@~0", 3), ("@~1", 2), ("@~3", 0)],
)
def test_a_generation_is_named_by_its_number_or_from_the_newest(text: str, expected: int) -> None:
    """Of two with the same number, the later one counts."""
    assert resolve(text, NAMES) == NAMES[expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "generation 3 is not kept; 4 are kept, from 4 to 7 - to keep more, raise `keep_generations`"),
        ("5", "generation 5 is not kept; 4 are kept, from 4 to 7 - `omnicdc show 4` shows the one before it"),
        ("8", "generation 8 is not kept; 4 are kept, from 4 to 7 - `omnicdc show @` shows the newest"),
        ("@~4", "@~4 is not kept; 4 are kept, from 4 to 7"),
        ("latest", "'latest' names no generation - give a number, @ for the newest"),
        ("-1", "names no generation"),
    ],
)
def test_a_generation_that_is_not_kept_is_refused_with_the_kept_ones(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve(text, NAMES)

    assert message in str(refused.value)

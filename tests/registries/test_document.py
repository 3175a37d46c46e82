"""A document depends only on its entries, byte by byte and block by block, and not on its history."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omnicdc.model import Entry, Frame
from omnicdc.registries.document import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.registries.block import Block

FRAME = Frame(b"[\n", b"\n]", b",\n")
BARE = Frame(b"head\n", b"")
KEYS = [f"key-{number}" for number in range(24)]

entry_keys = st.sampled_from(KEYS)
names = st.sampled_from(["", "a", "A", "aa", "b", "é", "z", "\uffff", "😀"])
entries = st.builds(
    lambda name, ident, body, counters: Entry((name, ident), body.encode() + b",\n", counters),
    names,
    st.sampled_from(["1", "2", "unit-3"]),
    st.sampled_from(["", "x", "entry", "é" * 9]),
    st.tuples(st.integers(0, 1), st.integers(-3, 3)),
)
contents = st.dictionaries(entry_keys, entries)
changes = st.dictionaries(entry_keys, st.none() | entries)
block_sizes = st.integers(1, 5)


def file(document: Document, frame: Frame = FRAME) -> bytes:
    return b"".join(document.parts(frame))


def expected_file(content: Mapping[str, Entry]) -> bytes:
    """Sort and join, the plainest way there is."""
    ordered = sorted(content, key=lambda entry_key: (content[entry_key].sort, entry_key))
    body = b"".join(content[entry_key].data for entry_key in ordered)
    return b"[\n" + body.removesuffix(b",\n") + b"\n]"


def hashed(document: Document, frame: Frame = FRAME) -> tuple[tuple[int, str], ...]:
    return tuple((len(part), sha256(part).hexdigest()) for part in document.parts(frame))


def applied(content: Mapping[str, Entry], changes: Mapping[str, Entry | None]) -> dict[str, Entry]:
    return {entry_key: entry for entry_key, entry in {**content, **changes}.items() if entry is not None}


def untouched_blocks(touched: set[tuple[str, str, str]], document: Document) -> list[Block]:
    """Return the blocks that must stay: none of the keys is in their range or in that of the block before."""
    indexes = {document._index(key) for key in touched}
    return [block for at, block in enumerate(document._blocks) if at not in indexes and at - 1 not in indexes]


def entry(name: str, body: str = "body", counters: tuple[int, ...] = ()) -> Entry:
    return Entry((name, "id"), f"{body},\n".encode(), counters)


class AnyHistory(RuleBasedStateMachine):
    """Entries are added, changed, moved and removed. After each step the document equals a new one."""

    document: Document
    content: dict[str, Entry]
    block_size: int

    @initialize(content=contents, block_size=block_sizes)
    def build(self, content: dict[str, Entry], block_size: int) -> None:
        self.document = Document.from_entries(content.items(), block_size)
        self.content = content
        self.block_size = block_size

    @rule(entry_key=entry_keys, new=entries)
    def put(self, entry_key: str, new: Entry) -> None:
        expected = self.content.get(entry_key) != new

        assert self.document.put(entry_key, new) is expected
        self.content[entry_key] = new

    @rule(entry_key=entry_keys, new=entries)
    def put_elsewhere(self, entry_key: str, new: Entry) -> None:
        """Only the sort key changes, as when a project is renamed."""
        old = self.content.get(entry_key, new)
        self.put(entry_key, Entry(new.sort, old.data, old.counters))

    @rule(entry_key=entry_keys)
    def remove(self, entry_key: str) -> None:
        expected = entry_key in self.content

        assert self.document.remove(entry_key) is expected
        self.content.pop(entry_key, None)

    @precondition(lambda self: self.content)
    @rule(data=st.data())
    def put_the_same(self, data: st.DataObject) -> None:
        entry_key = data.draw(st.sampled_from(sorted(self.content)))
        parts = self.document.parts(FRAME)

        assert self.document.put(entry_key, self.content[entry_key]) is False
        assert all(new is old for new, old in zip(self.document.parts(BARE)[1:-2], parts[1:-2], strict=True))

    @rule(new=changes, data=st.data())
    def update(self, new: dict[str, Entry | None], data: st.DataObject) -> None:
        """Put many entries at once, some of them without a change."""
        same = data.draw(st.sets(st.sampled_from(sorted(self.content)))) if self.content else set()
        new |= {entry_key: self.content[entry_key] for entry_key in same}
        differing = {entry_key for entry_key, entry in new.items() if self.content.get(entry_key) != entry}
        touched = {
            (*e.sort, entry_key)
            for entry_key in differing
            for e in (self.content.get(entry_key), new[entry_key])
            if e
        }
        untouched = untouched_blocks(touched, self.document)

        assert self.document.update(new) is bool(differing)
        self.content = applied(self.content, new)
        assert {id(block) for block in untouched} <= {id(block) for block in self.document._blocks}

    @rule()
    def remove_everything(self) -> None:
        assert self.document.update(dict.fromkeys(self.content)) is bool(self.content)
        self.content = {}

    @invariant()
    def equals_a_rebuilt_document(self) -> None:
        rebuilt = Document.from_entries(self.content.items(), self.block_size)

        assert file(self.document) == file(rebuilt) == expected_file(self.content)
        assert self.document.digests(FRAME) == rebuilt.digests(FRAME) == hashed(self.document)
        assert self.document.digests(BARE) == hashed(self.document, BARE)

    @invariant()
    def counts_its_entries(self) -> None:
        counters_seen = [entry.counters for entry in self.content.values()]
        expected = tuple(map(sum, zip(*counters_seen, strict=True)))

        assert self.document.counters == expected
        assert len(self.document) == len(self.content)

    @invariant()
    def knows_its_units(self) -> None:
        assert self.document.entry_keys() == self.content.keys()
        for entry_key in KEYS:
            found = self.content.get(entry_key)
            assert self.document.get(entry_key) == (found and found.data)
            assert (entry_key in self.document) is (found is not None)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(stateful_step_count=30)


@given(contents, block_sizes, st.data())
def test_the_order_of_arrival_does_not_matter(
    content: dict[str, Entry], block_size: int, data: st.DataObject
) -> None:
    expected = Document.from_entries(content.items(), block_size)
    document = Document(block_size)
    for entry_key in data.draw(st.permutations(sorted(content))):
        document.put(entry_key, content[entry_key])

    assert document.digests(FRAME) == expected.digests(FRAME)


@given(contents, changes, block_sizes)
def test_many_changes_at_once_give_the_same_document(
    content: dict[str, Entry], new: dict[str, Entry | None], block_size: int
) -> None:
    expected = Document.from_entries(applied(content, new).items(), block_size)
    document = Document.from_entries(content.items(), block_size)
    parts = document.parts(FRAME)
    parts_before = [bytes(part) for part in parts]
    document.update(new)

    assert document._blocks == [replace(block, digests={}) for block in expected._blocks]
    assert document._keys == expected._keys
    assert document.counters == expected.counters
    assert file(document) == expected_file(applied(content, new))
    assert parts == parts_before


@given(contents, changes, block_sizes, entry_keys)
def test_one_entry_with_other_counters_among_many_changes_nothing(
    content: dict[str, Entry], new: dict[str, Entry | None], block_size: int, bad: str
) -> None:
    content["stays"] = entry("m", counters=(1, 1))
    document = Document.from_entries(content.items(), block_size)
    digests, blocks, keys = document.digests(FRAME), [*document._blocks], dict(document._keys)

    with pytest.raises(ValueError, match=f"{bad} has 3 counters, others have 2$"):
        document.update({**new, bad: entry("n", counters=(1, 1, 1))})
    assert document.digests(FRAME) == hashed(document) == digests
    assert all(one is other for one, other in zip(document._blocks, blocks, strict=True))
    assert document._keys == keys
    assert document.counters == Document.from_entries(content.items()).counters


def test_entries_without_bytes_stay_in_order() -> None:
    document = Document.from_entries([("u1", Entry(("a", ""), b""))], block_size=1)
    document.update({"u0": Entry(("a", ""), b""), "u2": Entry(("b", ""), b"2")})

    assert document.get("u1") == b""
    assert [len(block.keys) for block in document._blocks] == [1, 1, 1]


def test_known_counters_may_take_another_length_once_no_entry_of_the_old_is_left() -> None:
    document = Document.from_entries(
        [("u1", entry("a", counters=(1, 2))), ("u2", entry("b", counters=(3, 4)))]
    )
    document.update({"u1": None, "u2": entry("c", counters=(5,)), "u3": entry("d", counters=(6,))})

    assert document.counters == (11,)


def test_an_empty_document_is_its_frame() -> None:
    document = Document()

    assert document.parts(FRAME) == [b"[\n", b"\n]"]
    assert document.digests(FRAME) == hashed(document)
    assert document.counters == ()


def test_entries_sort_by_code_point_then_id_then_unit() -> None:
    rows = [
        ("u4", Entry(("é", ""), b"4")),
        ("u3", Entry(("a", "2"), b"3")),
        ("u2", Entry(("a", "1"), b"2")),
        ("u1", Entry(("a", "1"), b"1")),
        ("u0", Entry(("Z", "9"), b"0")),
        ("u5", Entry(("😀", ""), b"6")),
        ("u6", Entry(("\uffff", ""), b"5")),
    ]

    assert file(Document.from_entries(rows), Frame(b"", b"")) == b"0123456"


def test_the_last_entry_of_a_unit_wins() -> None:
    document = Document.from_entries([("u", entry("a", "old", (1,))), ("u", entry("b", "new", (5,)))])

    assert file(document) == b"[\nnew\n]"
    assert document.counters == (5,)


def test_parts_handed_out_stay_as_they_were() -> None:
    """A file being written holds one state, whatever is put meanwhile."""
    document = Document.from_entries((entry_key, entry(entry_key)) for entry_key in KEYS)
    parts = document.parts(FRAME)
    expected = b"".join(parts)
    for entry_key in KEYS:
        document.put(entry_key, entry(entry_key, "changed"))

    assert b"".join(parts) == expected


def test_parts_are_returned_without_copies() -> None:
    document = Document.from_entries(((f"u{number}", entry(f"{number:04}")) for number in range(2_000)), 64)
    first, second = document.parts(FRAME), document.parts(FRAME)

    assert len(first) > 10
    assert all(one is other for one, other in zip(first[:-2], second[:-2], strict=True))
    assert isinstance(first[-2], memoryview)
    assert isinstance(second[-2], memoryview)
    assert first[-2].obj is second[-2].obj


def test_a_change_replaces_one_block() -> None:
    document = Document.from_entries(((f"u{number}", entry(f"{number:04}")) for number in range(2_000)), 64)
    before = document.parts(FRAME)
    document.put("u1000", entry("1000", "changed"))
    after = document.parts(FRAME)

    assert len(after) == len(before) > 10
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_blocks_have_about_the_intended_size() -> None:
    document = Document.from_entries((f"u{number}", entry(f"{number:05}")) for number in range(20_000))
    blocks = len(document.parts(FRAME)) - 2

    assert 20_000 / 256 / 1.5 < blocks < 20_000 / 256 * 1.5


def test_equal_known_counters_are_kept_once() -> None:
    document = Document.from_entries(
        (entry_key, entry(entry_key, counters=tuple(map(int, "10")))) for entry_key in KEYS
    )

    assert len({id(counters) for block in document._blocks for counters in block.counters}) == 1


def test_counters_of_unequal_length_are_refused_before_anything_changes() -> None:
    document = Document.from_entries(
        [("u1", entry("a", counters=(1, 2))), ("u2", entry("b", counters=(3, 4)))]
    )
    expected = file(document)

    with pytest.raises(ValueError, match="counters"):
        document.put("u1", entry("c", counters=(1,)))
    assert file(document) == expected
    assert document.counters == (4, 6)


def test_an_entry_without_the_separator_is_refused() -> None:
    document = Document.from_entries([("u", Entry(("a", ""), b"no separator"))])

    with pytest.raises(ValueError, match="separator"):
        document.parts(FRAME)
    with pytest.raises(ValueError, match="separator"):
        document.digests(FRAME)

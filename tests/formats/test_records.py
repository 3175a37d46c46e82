"""The formats of declared registries: standard readers read what was written, and so does omnicdc."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from omnicdc.formats.csv_records import Csv
from omnicdc.formats.json_records import JsonList, JsonObject, Ndjson
from omnicdc.formats.records import COUNT, TIME, RecordLayout, Shape
from omnicdc.formats.values import Float, as_text, sortable
from omnicdc.formats.yaml_records import YamlList

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnicdc.formats.values import Record

STAMP = "2026-01-02T03:04:05.000006+00:00"
COLUMNS = ("id", "name", "no", 'Odd: "name"')

HOSTILE = [
    "", " ", "yes", "0x1f", "1e5", "~", "- a", "a: b", "#", "2026-01-01", "\r\n", '"', "'", "\u2028", "<<",
    "=", ",",
]  # fmt: skip

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(characters, max_size=20) | st.sampled_from(HOSTILE)
numbers = st.integers() | st.sampled_from(["0.10", "1e+20", "-1.5e-07", "123456789.123456789"]).map(Float)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.fixed_dictionaries({COLUMNS[1]: texts, COLUMNS[2]: values, COLUMNS[3]: values})
tables = st.dictionaries(st.text("abc-", min_size=1, max_size=6), records, max_size=5)


def shape(entries: str | None, *, of_object: bool = False) -> Shape:
    header = {"version": "1.0.0", "count": COUNT, "generated_at": TIME} if entries else {}
    return Shape(COLUMNS, COLUMNS[1:] if of_object else COLUMNS, header, entries)


def written(layout: RecordLayout, table: dict[str, Record]) -> bytes:
    """Write a file as the daemon does."""
    frame = layout.surround(len(table), STAMP)
    body = b"".join(layout.rendered(key, [{"id": key, **table[key]}]) for key in sorted(table))
    if table:
        body = body.removesuffix(frame.separator)
    return frame.header + body + frame.footer


def plain(value: object) -> object:
    """Return a value as the readers give it: a number with a fraction is a float."""
    match value:
        case Float():
            return float(value)
        case list():
            return [plain(each) for each in value]
        case dict():
            return {name: plain(each) for name, each in value.items()}
    return value


def expected(table: dict[str, Record], *, of_object: bool = False) -> list[object]:
    rows = ({"id": key, **table[key]} for key in sorted(table))
    return [plain({name: row[name] for name in (COLUMNS[1:] if of_object else COLUMNS)}) for row in rows]


@given(tables, st.sampled_from([None, "things"]))
def test_a_json_object_is_read_by_a_standard_reader(table: dict[str, Record], entries: str | None) -> None:
    read = json.loads(written(JsonObject(shape(entries, of_object=True)), table))
    found = read[entries] if entries else read

    assert dict(found) == dict(zip(sorted(table), expected(table, of_object=True), strict=True))
    if entries:
        assert (read["count"], read["generated_at"]) == (len(table), STAMP)


@given(tables, st.sampled_from([None, "things"]))
def test_a_json_list_is_read_by_a_standard_reader(table: dict[str, Record], entries: str | None) -> None:
    read = json.loads(written(JsonList(shape(entries)), table))

    assert (read[entries] if entries else read) == expected(table)


@given(tables)
def test_each_line_of_ndjson_is_read_by_a_standard_reader(table: dict[str, Record]) -> None:
    lines = written(Ndjson(shape(None)), table).decode().split("\n")

    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == expected(table)


@given(tables, st.sampled_from([None, "things"]))
def test_yaml_is_read_alike_by_readers_of_both_versions(
    table: dict[str, Record], entries: str | None
) -> None:
    data = written(YamlList(shape(entries)), table)
    for read in (yaml.load(data, yaml.CSafeLoader), YAML(typ="safe", pure=True).load(data)):
        assert (read[entries] if entries else read) == expected(table)


@given(tables)
def test_csv_is_read_by_a_standard_reader(table: dict[str, Record]) -> None:
    data = written(Csv(shape(None)), table)
    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))

    assert rows[0] == list(COLUMNS)
    assert rows[1:] == [
        [as_text(({"id": key} | table[key])[name]) for name in COLUMNS] for key in sorted(table)
    ]


LAYOUTS: dict[str, Callable[[], RecordLayout]] = {
    "json": lambda: JsonObject(shape(None, of_object=True)),
    "json in a header": lambda: JsonObject(shape("things", of_object=True)),
    "json-list": lambda: JsonList(shape(None)),
    "json-list in a header": lambda: JsonList(shape("things")),
    "ndjson": lambda: Ndjson(shape(None)),
    "yaml": lambda: YamlList(shape(None)),
    "yaml in a header": lambda: YamlList(shape("things")),
    "csv": lambda: Csv(shape(None)),
}


@pytest.mark.parametrize("name", LAYOUTS)
@given(table=tables)
def test_the_entries_are_found_again(name: str, table: dict[str, Record]) -> None:
    """The whole file, its pieces, and the search by the bytes of an entry agree."""
    layout = LAYOUTS[name]()
    data = written(layout, table)
    split, items = layout.split(data), list(layout.items(layout.parse(data)))

    assert [item.entry_key for item in items] == sorted(table)
    assert [layout.item(core).fields for core in split.cores] == [item.fields for item in items]
    assert not list(layout.items(layout.parse(layout.frame(split))))
    for key, record in table.items():
        [core] = layout.cores(layout.rendered(key, [{"id": key, **record}]))
        item = layout.item(core)
        assert core in split.cores
        assert core in layout.mentioning(b"\n" + data, layout.needles(item))


@pytest.mark.parametrize("name", ["json in a header", "json-list in a header", "yaml in a header"])
def test_the_time_is_found_in_the_header(name: str) -> None:
    layout = LAYOUTS[name]()

    assert layout.stamp(written(layout, {"a": {"name": "x", COLUMNS[2]: 1, COLUMNS[3]: None}})) == STAMP
    assert layout.header(layout.parse(written(layout, {}))) == {"version": "1.0.0", "count": 0}


def test_an_object_refuses_two_rows_of_a_key_and_a_list_keeps_them() -> None:
    rows: list[Record] = [
        {"id": "a", "name": name, COLUMNS[2]: None, COLUMNS[3]: None} for name in ("x", "w")
    ]
    with pytest.raises(ValueError, match="2 rows of this key: aggregate"):
        LAYOUTS["json"]().rendered("a", rows)

    for name in ("json-list", "ndjson", "yaml", "csv"):
        layout = LAYOUTS[name]()
        assert [layout.item(core).fields["name"] for core in layout.cores(layout.rendered("a", rows))] == [
            "w", "x",
        ]  # fmt: skip


@given(st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_sort_by_size(found: list[float]) -> None:
    def value(number: float) -> object:
        return number if isinstance(number, int) else Float(repr(number))

    assert sorted(found, key=lambda each: sortable(value(each))) == sorted(found, key=float)


def test_a_key_that_yaml_cannot_hold_is_refused() -> None:
    row: Record = {"id": "a", "name": "x", COLUMNS[2]: {"k" * 300: 1}, COLUMNS[3]: None}
    with pytest.raises(ValueError, match="a key of 300 characters is too long"):
        LAYOUTS["yaml"]().rendered("a", [row])


@pytest.mark.parametrize("kind", [JsonObject, JsonList, YamlList])
@pytest.mark.parametrize("name", ["generated_at", "updated", 'odd: "name"'])
def test_the_time_is_known_by_its_place_in_the_declared_header(kind: type[RecordLayout], name: str) -> None:
    """Another time of the header is as constant as any other text."""
    shown = {"since": "2001-01-01T00:00:00.000000+00:00", name: TIME, "count": COUNT}
    layout = kind(Shape(COLUMNS, COLUMNS[1:], shown, "rows"))
    data = written(layout, {"a": {COLUMNS[1]: "x", COLUMNS[2]: 1, COLUMNS[3]: None}})

    assert layout.stamp(layout.split(data).head) == STAMP
    assert layout.header(layout.parse(data)) == {"since": "2001-01-01T00:00:00.000000+00:00", "count": 1}


def test_without_a_time_in_the_declared_header_nothing_is_left_out() -> None:
    layout = JsonList(Shape(COLUMNS, COLUMNS, {"generated_at": "by hand"}, "rows"))
    data = written(layout, {})

    assert layout.stamp(layout.split(data).head) == ""
    assert layout.header(layout.parse(data)) == {"generated_at": "by hand"}

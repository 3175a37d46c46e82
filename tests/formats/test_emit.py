"""Every reader of the registries reads exactly the text that was put in, whatever text it is."""

from __future__ import annotations

import json
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from omnicdc.formats.scalars import json_lines, json_text, yaml_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from support.evidence import Scale

READERS: dict[str, Callable[[str], object]] = {
    "PyYAML": partial(yaml.load, Loader=yaml.SafeLoader),
    "PyYAML in C": partial(yaml.load, Loader=yaml.CSafeLoader),
    "ruamel safe": YAML(typ="safe").load,
    "ruamel safe, pure": YAML(typ="safe", pure=True).load,
    "ruamel round trip": YAML().load,
}

FAST_READERS = {"PyYAML in C"}

# fmt: off
WORDS = ["yes", "no", "on", "off", "null", "true", "false", "y", "n"]
NUMBERS = [
    "0", "012", "0o7", "0x1F", "0b1", "1_000", "+1", "-1", "123456789", "1e3", "1E+3", "1e-3", "12e03", ".5",
    "5.", "1.0", "1.0.0", "-", "--", "12:30:45", "190:20:30.15", ".inf", "-.Inf", "+.INF", ".nan", ".NaN",
    "infinity", "nan", "2024-01-01", "2024-01-01T00:00:00Z", "2001-12-14t21:59:43.10-05:00",
    "2001-12-14 21:59:43.10 -5",
]
INDICATORS = [
    "=", "<<", "~", "---", "...", "---x", "--- x", "... x", "- x", "? x", ": x", "-x", "?x", ":x", "a: b",
    "a:", "a : b", "a #c", "a#c", "a:#c", "#c", "# c", "&x", "*x", "!x", "!!int", "|-", ">+", "%YAML 1.1",
    "@x", "`x", "[x]", "{x}", "'a'", '"a"', "''", "it's", "\\", "\\\\", '\\"', "\\u0041", "a\\nb", "C:\\x",
    "a!b", "a & b", "a*b", "a, b",
]
BLANKS = [
    "", " ", "  ", " a", "a ", "a  b", "a \t#b", "a\t: b", "\na", "a\n", "a\nb", "a\n\n b", "a\r\nb", "\r",
    "a\r", "\ta", "\x85a", "a\x85b", "a\xa0", "\u2028", "a\u2029b", "\ufeff", "\ufeffa", "a\ufeff", "\u200b",
    "\u3000", "a\u3000", "a\u1680",
]
CHARACTERS = [
    "\ufffe", "\uffff", "\ud7ff", "\ue000", "\ufffd", "😀", "a😀", "👩\u200d💻", "\U0001ffff", "\U0010ffff",
    "日本", "Žluťoučký kůň", "אב", "\u0301a", "٣", "٣:٣", "\uff11\uff12", "²", "½", "no\u0301",
    "\uff4e\uff4f", "no\u2028",
]
TYPICAL = [
    "my-project", "https://github.com/acme/my-project", "git@github.com:acme/my.project.git", "PRIVATE",
    "/home/me/work spaces/my-project", "My Project (v2)", "Žluťoučký kůň", "日本", "Rocket 🚀", "nothing",
    "on time", "0f8fad5b-d9cb-469f-a165-70867728950e", "12345678-1234-1234-1234-123456789012",
    "1e345678-0000-4000-8000-000000000000",
]
# fmt: on

DIFFICULT = [
    *(
        spelt
        for word in WORDS
        for spelt in (word, word.upper(), word.title(), word.swapcase()[:-1] + word[-1])
    ),
    *(word + end for word in WORDS for end in ("x", " ", ":", ".", " no", ":no", "\n")),
    *NUMBERS,
    *INDICATORS,
    *BLANKS,
    *CHARACTERS,
    *(chr(code) for code in range(1, 0x100)),
    *(
        before + chr(code) + after
        for code in range(1, 0x100)
        for before, after in (("a", "b"), ("a ", ""), ("a", " b"))
    ),
]

LONG = [
    "x" * 70_000,
    "#" * 70_000,
    "x " * 2_000 + "x",
    "a: " * 1_000,
    "é" * 2_000,
    "/deep" * 1_000,
    "\x01" * 1_500,
    "a\n" * 1_500,
    "-" * 1_025,
]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
nearly_plain = st.text("aeEfnNoOxtTzZ015_.:-+~=/ #'\"<@é😀", max_size=12)
texts = st.lists(text | nearly_plain | st.uuids().map(str), min_size=30, max_size=60)


def yaml_file(values: Sequence[str | None]) -> str:
    """Write values where entries have them: below keys, in lists at their key's column, at the top."""
    scalars = [yaml_text(value) for value in values]
    of_keys = "".join(f"  k{place}: {scalar}\n" for place, scalar in enumerate(scalars))
    in_lists = "".join(f"  l{place}:\n  - {scalar}\n" for place, scalar in enumerate(scalars))
    items = "".join(f"- {scalar}\n" for scalar in scalars)
    return f"entries:\n- first: 1\n{of_keys}{in_lists}  last: 1\nitems:\n{items}end: {scalars[-1]}\n"


def expected_content(values: Sequence[str | None]) -> object:
    """Return what a reader should read in `yaml_file`."""
    keys = {f"k{place}": value for place, value in enumerate(values)}
    lists = {f"l{place}": [value] for place, value in enumerate(values)}
    return {"entries": [{"first": 1, **keys, **lists, "last": 1}], "items": [*values], "end": values[-1]}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("values", [DIFFICULT, LONG, [None, "null", None]], ids=["traps", "long", "null"])
def test_difficult_texts_are_read_back(values: list[str | None], reader: str, scale: Scale) -> None:
    """In a campaign each reader reads each text.

    Otherwise the slow readers, which are in Python, read every fifth text of a long list.
    """
    some = values if reader in FAST_READERS else values[:: scale(5, 1) if len(values) > 10 else 1]

    assert READERS[reader](yaml_file(some)) == expected_content(some)


@settings(max_examples=settings().max_examples // 5)  # each is many texts
@given(texts)
def test_every_yaml_reader_reads_any_text_back(values: list[str]) -> None:
    expected = expected_content(values)
    text_of_file = yaml_file(values)

    for name, read in READERS.items():
        assert read(text_of_file) == expected, name


def test_every_character_is_read_back(scale: Scale) -> None:
    """Once where the text must be quoted, and again where it may be plain.

    A campaign tries all characters. Otherwise every hundredth of the rare ones is tried, and those where two
    planes meet.
    """
    rare = [0x10FFFE, 0x10FFFF, *range(0x12000, 0x110000, scale(101, 1))]
    planes = [plane + step for plane in range(0x20000, 0x110000, 0x10000) for step in (-2, -1, 0, 1)]
    codes = sorted({*range(1, 0x12000), *rare, *planes})
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    rows = ["#" + "".join(characters[start : start + 4096]) for start in range(0, len(characters), 4096)]
    plain = ["".join(character for character in row if yaml_text(f"a{character}")[0] == "a") for row in rows]
    expected = [*rows, *plain, *(f"a{row}" for row in plain)]

    assert yaml.load("".join(f"- {yaml_text(value)}\n" for value in expected), yaml.CSafeLoader) == expected


@pytest.mark.parametrize("reader", READERS)
def test_no_short_text_is_read_as_a_number_a_date_or_a_word(reader: str, scale: Scale) -> None:
    """All combinations of up to three such characters that are written plain.

    The slow readers read every fifth text, except in a campaign.
    """
    spelt = ["".join(word) for length in (1, 2, 3) for word in product("01eE.-+:_xonyNT~=</", repeat=length)]
    expected = [word for word in spelt if yaml_text(word) == word]

    assert len(expected) > 1_000
    some = expected if reader in FAST_READERS else expected[:: scale(5, 1)]
    assert READERS[reader]("".join(f"- {word}\n" for word in some)) == some


@given(text)
@example("a\nb\r\x85\u2028\u2029c")
def test_a_scalar_is_one_line_without_blanks_around_it(value: str) -> None:
    scalar = yaml_text(value)

    assert scalar.splitlines() == [scalar.strip()]


@pytest.mark.parametrize("value", TYPICAL)
def test_typical_text_is_left_plain(value: str) -> None:
    assert yaml_text(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ("", '""'),
        ("no", '"no"'),
        ("1.0", '"1.0"'),
        ("a: b", '"a: b"'),
        ('"\\\t\n\x01\0', r'"\"\\\t\n\u0001\u0000"'),
        ("\x7f\x85\xa0\u2028\ufeff\uffff", r'"\u007f\u0085\u00a0\u2028\ufeff\uffff"'),
        ("#😀", '"#😀"'),
    ],
)
def test_ambiguous_text_is_quoted(value: str | None, expected: str) -> None:
    assert yaml_text(value) == expected


@given(text | st.none())
@example('\x00\x1f\b\f"\\/\x7f\x85\u2028\ufeff😀')
def test_json_is_what_the_standard_library_would_write(value: str | None) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("write", [json_text, yaml_text])
@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", "\ud83d\ude00", "-" * 1_000 + "\udc80"])
def test_a_lone_surrogate_is_refused(write: Callable[[str], str], value: str) -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        write(value)
    with pytest.raises(ValueError, match="UTF-8"):
        json_lines({"owner": {"login": value}})

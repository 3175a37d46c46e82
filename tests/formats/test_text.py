"""Text from outside is safe to print: a terminal does not interpret it, and its length is limited."""

from __future__ import annotations

import pytest

from omnicdc.formats.text import escaped, shortened


@pytest.mark.parametrize("text", ["", "plain", "Überflieger 航 \N{ROCKET}", "a \\ b"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202e\u2028", r"\u202e\u2028"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\udc80", r"\udc80"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    """So are a change of the writing direction, and half of a surrogate pair, which no encoding accepts."""
    assert escaped(text) == expected


def test_some_characters_can_be_kept() -> None:
    assert escaped("a\tb\n\x1b", keep="\t\n") == "a\tb\n\\x1b"


def test_a_long_text_is_cut_and_marked() -> None:
    assert shortened("abcdef", 3) == "abc…"
    assert shortened("abc", 3) == "abc"
    assert shortened("\x1bbcd", 2) == "\\x1bb…"

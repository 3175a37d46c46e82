"""Text from outside is safe to print: no terminal obeys it, and no line is endless."""

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
def test_what_a_terminal_could_obey_is_escaped(text: str, expected: str) -> None:
    """So are a change of the writing direction and half of a surrogate pair, which no encoding takes."""
    assert escaped(text) == expected


def test_some_characters_can_be_kept() -> None:
    assert escaped("a\tb\n\x1b", keep="\t\n") == "a\tb\n\\x1b"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("abcdef", 3) == "abc…"
    assert shortened("abc", 3) == "abc"
    assert shortened("\x1bbcd", 2) == "\\x1bb…"

"""Escapes text of unknown origin, so that it is safe to print, and checks that text is UTF-8. No I/O."""

from __future__ import annotations


def escaped(text: str, *, keep: str = "") -> str:
    """Return `text` with an escape for every character that is not printable, except for those in `keep`.

    Control sequences of terminals and marks that change the direction of writing are not printable.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def shortened(text: str, longest: int) -> str:
    """Return at most the first `longest` characters of `text`, escaped."""
    return escaped(text if len(text) <= longest else f"{text[:longest]}…")


def is_unicode(text: str) -> bool:
    """Return True if a text has no lone surrogate. Python stores bytes that are not UTF-8 as such."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

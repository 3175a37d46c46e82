"""Escapes text that others wrote, so that it is safe to show; and checks that text is UTF-8. No I/O."""

from __future__ import annotations


def escaped(text: str, *, keep: str = "") -> str:
    """Return `text` with an escape for every character that is not printable, except for those in `keep`.

    What a terminal obeys is not printable, and neither is what turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def shortened(text: str, longest: int) -> str:
    """Return `text` escaped, and no more than its first `longest` characters."""
    return escaped(text if len(text) <= longest else f"{text[:longest]}…")


def is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, in which Python keeps bytes of another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

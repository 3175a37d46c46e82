"""Whether a text can be written as UTF-8: file names, arguments, variables and escapes may hold what cannot."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, in which Python keeps bytes of another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

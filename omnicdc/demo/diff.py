"""The difference of two versions of a registry, as `diff -U0` writes it."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def unified(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Return the hunks, without context and without the two lines of file names."""
    return tuple(_hunks(before, after))


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    equal = [end - start if tag == "equal" else 0 for tag, start, end, _start, _end in steps]
    for at, (tag, old, old_end, new, new_end) in enumerate(steps):
        if tag == "equal":
            continue
        room = equal[at - 1] if at else 0, equal[at + 1] if at + 1 < len(steps) else 0
        shift = 0
        if tag == "delete":
            shift = _shift(before, old, old_end, room)
        elif tag == "insert":
            shift = _shift(after, new, new_end, room)
        yield f"@@ -{_range(old + shift, old_end + shift)} +{_range(new + shift, new_end + shift)} @@"
        yield from (f"-{line}" for line in before[old + shift : old_end + shift])
        yield from (f"+{line}" for line in after[new + shift : new_end + shift])


def _shift(lines: Sequence[str], start: int, end: int, room: tuple[int, int]) -> int:
    """Return how far to slide a block of added or removed lines, so that it begins where an entry begins.

    The lines that enter at one side equal those that leave at the other: the difference is the same,
    and easier to read (git's indent heuristic, much simplified).
    """
    up = down = 0
    while up < room[0] and lines[start - up - 1] == lines[end - up - 1]:
        up += 1
    while down < room[1] and lines[start + down] == lines[end + down]:
        down += 1
    return min(range(-up, down + 1), key=lambda shift: (_depth(lines[start + shift]), abs(shift)))


def _depth(line: str) -> tuple[int, bool]:
    """Return the indentation, and whether the line ends something rather than begins it."""
    text = line.lstrip()
    return len(line) - len(text), text.startswith(("}", "]"))


def _range(start: int, end: int) -> str:
    """Write lines as diff counts them: from 1, and of none the line before."""
    length = end - start
    first = start + 1 if length else start
    return str(first) if length == 1 else f"{first},{length}"

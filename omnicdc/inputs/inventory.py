"""The repositories' metadata: the inventory that was adopted at the first start, updated by GitHub.

After the first start omnicdc itself writes the inventory. So it is read as an input only once, and a copy
stays in the state directory. `github.py` gets the data from GitHub.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omnicdc.errors import ConfigError
from omnicdc.filesystem import regular
from omnicdc.formats.text import is_unicode
from omnicdc.formats.urls import github, url_key
from omnicdc.inputs import cache
from omnicdc.inputs.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Element = Mapping[str, Any]
Elements = Mapping[str, Element]

_NOTHING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}
"""Errors that mean: there is no file, so no element can be lost."""

_ADOPTED = "adopted_inventory.json"
_OURS = ("uuid", "uuids")
_SYNTHESIZED = {"description", "name", "owner", "updatedAt", "url", "uuid", "visibility"}

SOURCE = "source"
"""The last key of an element that GitHub does not list. omnicdc writes `CMP` or `GONE`, other programs may
write other values."""

CMP = "cmp"
"""Only CMP knows the repository."""

GONE = "gone"
"""GitHub listed the repository before, and does not list it now."""


def adopt(registry_file: Path, state_dir: Path) -> Reading[Elements]:
    """Return the adopted elements, by URL key. The first call reads the published file and adopts it.

    Adopting removes `uuid`, `uuids` and `source: cmp`, and elements that only CMP knew. It keeps `source:
    gone`, because this is not known from anywhere else. If the file has faults, a copy of it is saved in the
    state directory. If the adopted file is damaged, the published file is adopted again. Raises `ConfigError`
    if the published file exists but cannot be read, because its content would be lost, and the errors of
    `cache.write`.
    """
    adopted = adopted_before(state_dir)
    if adopted is not None:
        return Reading(adopted)
    damaged = cache.read(state_dir / _ADOPTED)
    faults = [] if damaged is None else [_save_copy(state_dir / _ADOPTED, damaged, "damaged")]
    data = _content(registry_file)
    reading = _understood(data, str(registry_file))
    if reading.faults:
        faults += (
            *reading.faults,
            _save_copy(state_dir / registry_file.name, data, "not all of it is adopted"),
        )
    cache.write(state_dir / _ADOPTED, _json(reading.value.values()))
    return Reading(reading.value, tuple(faults))


def adopted_before(state_dir: Path) -> Elements | None:
    """Return the adopted elements. None if nothing was adopted yet, or the file is damaged."""
    elements = _list(cache.read(state_dir / _ADOPTED) or b"")
    return None if elements is None else by_key(elements, _ADOPTED).value


def merge(adopted: Elements, fetched: Elements) -> Elements:
    """Merge adopted elements with GitHub's. GitHub's fields win; other fields and other elements stay.

    An element that GitHub lists again is no longer `gone`.
    """
    both = {key: _over(adopted[key], fetched[key]) for key in adopted.keys() & fetched.keys()}
    return {**adopted, **fetched, **both}


def by_key(elements: Iterable[object], source: str) -> Reading[Elements]:
    """Return the elements by URL key, and a fault for each that is not valid.

    If a repository has two elements, the later one's fields win, and fields that only the first has are kept.
    An element that omnicdc made from CMP alone is dropped if there is another one.
    """
    found: dict[str, Element] = {}
    faults = []
    for number, element in enumerate(elements, 1):
        wrong = _wrong(element)
        if wrong or not isinstance(element, Mapping):
            faults.append(f"{source}: element {number} {wrong}; it is skipped")
            continue
        key = url_key(element["url"])
        if key not in found or _is_synthesized(found[key]):
            found[key] = element
        elif not _is_synthesized(element):
            found[key] = {**found[key], **element}
    return Reading(found, tuple(faults))


def _wrong(element: object) -> str:
    """Return why this is not a valid element; empty if it is one."""
    if not isinstance(element, Mapping):
        return "is not an object"
    for field in ("name", "url"):
        if not isinstance(element.get(field), str) or not element[field].strip():
            return f"has no text {field}"
    return "" if url_key(element["url"]) else "has a url of nothing but slashes"


def _content(registry_file: Path) -> bytes:
    try:
        return regular.read(registry_file)
    except OSError as exc:
        if exc.errno in _NOTHING:
            return b"[]"
        raise ConfigError(
            f"{registry_file} cannot be read ({exc.strerror}), so what it holds cannot be kept",
            hint=f"make it readable: ls -l {registry_file}",
        ) from exc


def _understood(data: bytes, source: str) -> Reading[Elements]:
    elements = _list(data)
    if elements is None:
        return Reading({}, (f"{source}: not a JSON list; nothing of it is adopted",))
    reading = by_key(elements, source)
    kept = {
        key: _without_ours(element) for key, element in reading.value.items() if not _is_synthesized(element)
    }
    broken = {key for key, element in kept.items() if not is_unicode(json.dumps(element, ensure_ascii=False))}
    faults = [f"{source}: {key!a} holds half a surrogate pair; it is skipped" for key in sorted(broken)]
    return Reading({key: kept[key] for key in kept if key not in broken}, (*reading.faults, *faults))


def _list(data: bytes) -> list[object] | None:
    """Parse a JSON list with the standard library; None if that fails.

    This library keeps integers of any size, and lone surrogates, so that we can report them.
    """
    try:
        parsed = json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) else None


def _json(elements: Iterable[Element]) -> bytes:
    """Render one element in each line, so that people can read the file."""
    lines = ",\n".join(json.dumps(element, ensure_ascii=False) for element in elements)
    return f"[\n{lines}\n]\n".encode()


def _save_copy(path: Path, data: bytes, why: str) -> str:
    """Save a copy of a file's bytes. Return the fault that names it."""
    copy = path.with_name(f"{path.name}.found")
    cache.write(copy, data)
    return f"{path.name}: {why}; as it was found it stays in {copy}"


def _is_synthesized(element: Element) -> bool:
    """Return True if omnicdc made this element from a URL in CMP. It is removed with its last project."""
    owner = element.get("owner")
    return (
        element.keys() - {"uuids", SOURCE} == _SYNTHESIZED
        and element.get(SOURCE, CMP) == CMP
        and isinstance(owner, Mapping)
        and owner.keys() == {"id", "login"}
        and (element["description"], element["updatedAt"], element["visibility"]) == (None, None, "unknown")
        and github(url_key(element["url"])) == (str(owner["login"]).lower(), element["name"].lower())
    )


def _without_ours(element: Element) -> Element:
    ours = {*_OURS, SOURCE} if element.get(SOURCE) == CMP else _OURS
    return {field: value for field, value in element.items() if field not in ours}


def _over(adopted: Element, fetched: Element) -> Element:
    """Merge two elements of a repository. The `owner` objects are merged in the same way."""
    element = {**adopted, **fetched}
    if element.get(SOURCE) == GONE and SOURCE not in fetched:
        del element[SOURCE]
    owners = adopted.get("owner"), fetched.get("owner")
    if isinstance(owners[0], Mapping) and isinstance(owners[1], Mapping):
        element["owner"] = {**owners[0], **owners[1]}
    return element

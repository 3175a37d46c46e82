"""What a plan knows of each project: the columns in which two projects can conflict. No I/O."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from omnicdc.formats.urls import url_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FIELDS = {
    "name": "name",
    "key": "key",
    "type": "type",
    "status": "status",
    "metadata_.github_url": "github_url",
    "metadata_.domain": "domain",
}
"""Field of CMP to the name of the fact."""


class Facts(NamedTuple):
    """One project in CMP, before or after the change."""

    uuid: str
    name: str | None
    key: str | None
    type: str | None
    status: str | None
    github_url: str | None
    domain: str | None

    def changed(self, values: Mapping[str, Any], unset: tuple[str, ...] = ()) -> Facts:
        """Return the facts after these fields are set or removed."""
        fresh: dict[str, Any] = {
            FIELDS[name]: _text(value) for name, value in values.items() if name in FIELDS
        }
        return self._replace(**fresh | {FIELDS[name]: None for name in unset if name in FIELDS})


def _text(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    return value if value is None or isinstance(value, str) else str(value)


Duplicate = Literal["duplicate_name", "duplicate_key", "duplicate_url"]

IDENTIFYING: tuple[tuple[Duplicate, str, Callable[[Facts], str | None]], ...] = (
    ("duplicate_name", "name", lambda one: one.name),
    ("duplicate_key", "key", lambda one: one.key),
    ("duplicate_url", "URL", lambda one: url_key(one.github_url)),
)
"""What each project should have alone: the kind of a finding if several have it, its name, and its value."""


def by_value(projects: Iterable[Facts], value_of: Callable[[Facts], str | None]) -> dict[str, list[Facts]]:
    """Return each value to the projects that have it, without the projects that have none."""
    found: dict[str, list[Facts]] = defaultdict(list)
    for one in projects:
        if value := value_of(one):
            found[value].append(one)
    return found

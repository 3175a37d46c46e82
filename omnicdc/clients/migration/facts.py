"""What a plan knows of each project: the columns in which two projects can conflict. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

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

"""What a migration changes: new values of fields, by project. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from omnicdc.errors import ConfigError

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

EXAMPLE = 'a change is {"uuid": "…", "set": {"status": "archived", "metadata_.domain": "labs"}}'


class ChangeDict(TypedDict):
    """A change as plain JSON."""

    uuid: str
    set: dict[str, Any]
    unset: list[str]


@dataclass(frozen=True, slots=True)
class Change:
    """New values for one project. A field is a column, or `column.key` for a key of a json column."""

    uuid: str
    set: Mapping[str, Any] = field(default_factory=dict)
    """Field to its new value, as JSON has it. None is NULL, or JSON's null for a key."""
    unset: tuple[str, ...] = ()
    """Keys of json columns that are removed."""

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that are set or removed, in the order of their names."""
        return tuple(sorted({*self.set, *self.unset}))

    def as_dict(self) -> ChangeDict:
        """Return it as plain JSON, which `changes_of` reads."""
        return {"uuid": self.uuid, "set": dict(self.set), "unset": list(self.unset)}


def changes_of(given: object) -> list[Change]:
    """Return the changes that a caller gave, one for each project, in their order.

    Several changes of one project are united. Raises ConfigError for anything that is no change, and for two
    different values of one field.
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise ConfigError(f"a list of changes expected, and not {given!r:.100}", hint=EXAMPLE)
    united: dict[str, Change] = {}
    for number, one in enumerate(given, 1):
        change = one if isinstance(one, Change) else _parsed(one, f"change {number}")
        before = united.get(change.uuid)
        united[change.uuid] = _united(before, change, number) if before else change
    return list(united.values())


def _parsed(given: object, where: str) -> Change:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: not a change: {given!r:.100}", hint=EXAMPLE)
    if unknown := sorted(map(str, given.keys() - {"uuid", "set", "unset"})):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r:.50}", hint=EXAMPLE)
    uuid, values, unset = given.get("uuid"), given.get("set", {}), given.get("unset", ())
    if UUID.fullmatch(text := str(uuid).strip().lower()) is None:
        raise ConfigError(f"{where}: not a UUID: {uuid!r:.100}", hint=EXAMPLE)
    if (
        not isinstance(values, Mapping)
        or isinstance(unset, (str, Mapping))
        or not isinstance(unset, Iterable)
    ):
        raise ConfigError(f"{where}: set is a mapping, and unset a list of fields", hint=EXAMPLE)
    fields = [*values, *unset]
    if not fields:
        raise ConfigError(f"{where}: it changes nothing", hint=EXAMPLE)
    for name in fields:
        _check_field(name, where)
    for name in unset:
        if "." not in name:
            raise ConfigError(
                f"{where}: unset: {name} is a column; only a key of a json column can be removed"
            )
    if both := values.keys() & {*unset}:
        raise ConfigError(f"{where}: {min(both)} is both set and removed")
    return Change(text, dict(values), tuple(unset))


def _check_field(name: object, where: str) -> None:
    column, dot, key = name.partition(".") if isinstance(name, str) else ("", "", "")
    if not column or (dot and not key):
        raise ConfigError(f"{where}: not a field: {name!r:.100}", hint=EXAMPLE)
    if column == "id":
        raise ConfigError(f"{where}: a project's id is never changed", hint="report the conflict instead")


def _united(before: Change, change: Change, number: int) -> Change:
    for name in {*before.fields} & {*change.fields}:
        if before.set.get(name, change) != change.set.get(name, before):
            raise ConfigError(
                f"change {number}: {name} of project {change.uuid} is changed twice, differently"
            )
    return Change(
        change.uuid,
        {**before.set, **change.set},
        tuple(dict.fromkeys((*before.unset, *change.unset))),
    )

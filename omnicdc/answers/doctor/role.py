"""The database role that asks."""

from __future__ import annotations

from dataclasses import dataclass

from omnicdc.answers.doctor.rights import CLIENT, DAEMON


@dataclass(frozen=True, slots=True)
class AskingRole:
    """The database role that asks, and which of omnicdc's roles it is a member of: a superuser of all."""

    name: str
    superuser: bool
    roles_exist: bool
    """Whether omnicdc's roles were created in this cluster."""
    daemon: bool
    client: bool
    inherits: bool
    """Whether it has the rights of these roles without SET ROLE."""
    owner: bool
    """Whether it may act as the owner of omnicdc's tables: it installed them, or a superuser granted it."""
    installs: bool
    """Whether `omnicdc install` is worth a try."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of these roles."""
        return tuple(name for name, member in ((DAEMON, self.daemon), (CLIENT, self.client)) if member)

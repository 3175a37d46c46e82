"""Defines all settings: their names, their meaning, their defaults, and how their text is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omnicdc.config.default_file import ConfigFile
from omnicdc.config.readers import (
    address,
    line,
    one_of,
    path,
    positive,
    seconds,
    share,
    size,
    span,
    switch,
    table,
    text,
    textfile,
    whole,
)
from omnicdc.db.conninfo import Target
from omnicdc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from omnicdc.config.declared import Declared


def _about(read: Callable[[str], object], meaning: str, separator: str = "") -> dict[str, Any]:
    return {"read": read, "meaning": meaning, "separator": separator}


NAME_ROOT = "--root DIR or OMNICDC_ROOT; in a program: `GenesisClient(root=…)`"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, checked. `load` creates this object. Its repr never shows a password."""

    dsn: str | None = field(
        default=None, repr=False, metadata=_about(text, "connection string or URI of CMP's database")
    )
    password_file: Path | None = field(
        default=None, metadata=_about(path, "file that holds the database password")
    )
    root: Path | None = field(
        default=None, metadata=_about(path, "infrastructure root, which holds governance/registry")
    )
    shadow: Path | None = field(
        default=None,
        metadata=_about(path, "publish below this directory instead of the root: a trial before a cutover"),
    )
    workspaces: tuple[Path, ...] = field(
        default=(), metadata=_about(path, "further directories to look for clones in", os.pathsep)
    )
    state_dir: Path = field(
        default=Path("/var/lib/omnicdc"), metadata=_about(path, "where omnicdc keeps what is its own")
    )
    tables: tuple[tuple[str, str], ...] = field(
        default=(), metadata=_about(table, "the table of each source, NAME or SCHEMA.NAME", ",")
    )
    """Source and table. The table of a source that is not named here has the source's name."""
    consumer: str = field(
        default="localhost", metadata=_about(line, "this daemon's name in the database, else the host's")
    )
    wake: Literal["notify", "poll"] = field(
        default="notify",
        metadata=_about(one_of("notify", "poll"), "`poll` where a pooler breaks LISTEN"),
    )
    poll_s: float = field(
        default=5.0, metadata=_about(seconds, "the longest time between two looks at the log")
    )
    sweep_s: float = field(
        default=3600.0, metadata=_about(seconds, "time between two compares of everything with everything")
    )
    refresh_s: float = field(
        default=900.0, metadata=_about(seconds, "time between two looks at clones and GitHub")
    )
    retention: timedelta = field(
        default=timedelta(days=7), metadata=_about(span, "how long changes are kept")
    )
    consumer_expiry: timedelta = field(
        default=timedelta(days=1),
        metadata=_about(span, "a consumer silent for longer no longer holds the log back"),
    )
    max_lag_s: float = field(
        default=90.0, metadata=_about(seconds, "`status` reports a consumer that is behind for longer")
    )
    wait_connections: int = field(
        default=4, metadata=_about(positive, "the most connections with which all waits of one process look")
    )
    guard_share: float = field(
        default=0.5, metadata=_about(share, "hold a registry that would lose more than this share of entries")
    )
    guard_min: int = field(default=10, metadata=_about(whole, "... and at least this many"))
    keep_generations: int = field(
        default=100, metadata=_about(whole, "how many generations to keep at most; 0 keeps none")
    )
    keep_bytes: int = field(
        default=1 << 30, metadata=_about(size, "how much room the kept generations may take at most")
    )
    on_drift: Literal["restore", "alert"] = field(
        default="restore",
        metadata=_about(
            one_of("restore", "alert"), "what to do with a registry that another process changed"
        ),
    )
    on_publish: tuple[str, ...] = field(
        default=(), metadata=_about(line, "a command to run after each publication, and its arguments", " ")
    )
    hook_interval_s: float = field(
        default=1.0,
        metadata=_about(seconds, "the shortest time between two runs of a command after publications"),
    )
    hook_timeout_s: float = field(
        default=60.0, metadata=_about(seconds, "the longest time that such a command may take")
    )
    gh: bool = field(default=True, metadata=_about(switch, "ask GitHub through `gh`, where there is one"))
    github_owners: tuple[str, ...] = field(
        default=(), metadata=_about(line, "GitHub owners to list beside those in CMP", ",")
    )
    metrics: tuple[str, int] | None = field(
        default=None, metadata=_about(address, "address on which the daemon serves metrics and health")
    )
    """Host and port; None if the daemon listens nowhere."""
    metrics_textfile: Path | None = field(
        default=None, metadata=_about(textfile, "a file of metrics for node_exporter's textfile collector")
    )
    otel: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=_about(one_of("auto", "on", "off"), "whether to send a span for each traced change"),
    )
    """`auto`, if the extra `otel` is installed and the environment names a collector; if not, `load` has
    made it `off`."""
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata=_about(one_of("debug", "info", "warning", "error"), "the least to log")
    )
    registries: tuple[Declared, ...] = ()
    """The registries that the configuration file declares."""
    target: Target = field(default_factory=Target)
    """How to connect to CMP's database, and where the credentials come from."""
    file: ConfigFile = field(default=ConfigFile(), compare=False)
    """The configuration file."""
    file_settings: int = field(default=0, compare=False)
    """How many settings the configuration file holds."""
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each setting was set: the flag, the variable, or FILE:LINE. Those with a default are missing."""
    derived: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """What the default of a setting depends on, if it is not the same everywhere."""

    @property
    def conninfo(self) -> str:
        """The connection string for psycopg. The password file is read at each access.

        Raises ConfigError for an invalid part, and DatabaseUnavailable if the password file cannot be read in
        time.
        """
        return self.target.login().conninfo

    @property
    def file_note(self) -> str:
        """Why the file sets nothing, and what is in force then; empty text if it sets something."""
        return self.file.unread or (self.file.sets_nothing if not self.file_settings else "")

    def table_of(self, source: str) -> str:
        """Return the name of a source's table, as it was written."""
        return dict(self.tables).get(source, source)

    def require_root(self) -> Path:
        """Return the infrastructure root. Raises ConfigError if none is configured."""
        if self.root is None:
            because = f": {self.file_note}" if self.file_note else ""
            raise ConfigError(f"no infrastructure root is configured{because}", hint=NAME_ROOT)
        return self.root

    def require_output_root(self) -> Path:
        """Return the directory below which the registries are published: the root, or its shadow.

        The inputs are always those of the root. Raises ConfigError if no root is configured.
        """
        root = self.require_root()
        return self.shadow or root

    def require_output_directory(self) -> Path:
        """Return the directory of the registries, for commands that only compare files.

        Raises ConfigError if none is configured, or if it is not a directory now.
        """
        root = self.require_output_root()
        if not os.path.isdir(root):  # noqa: PTH112 - never raises
            raise ConfigError(
                f"{'the shadow' if self.shadow else 'the infrastructure root'} {root} is not a directory",
                hint=f"is it mounted? else name another one: {NAME_ROOT}",
            )
        return root


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of one setting, for `load` and for the documentation."""

    name: str
    meaning: str
    default: object
    read: Callable[[str], object]
    separator: str
    """The separator of the items of a list in an environment variable; empty for a single value."""


SETTINGS: Mapping[str, Setting] = {
    it.name: Setting(it.name, default=it.default, **it.metadata) for it in fields(Config) if it.metadata
}

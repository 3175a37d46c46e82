"""The line of the exclusions file that leaves a project out of the project registry.

People own that file. A client writes it only if it is asked to, and keeps their comments.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TypedDict

from omnicdc.errors import ConfigError, RegistryError
from omnicdc.filesystem.atomic import replace
from omnicdc.formats.urls import is_excluded

if TYPE_CHECKING:
    from pathlib import Path

    from omnicdc.config.settings import Config

BY_HAND = "add the line by hand"

PREFIX = "- repo: "
"""What a line has before the name of the repository."""


class Exclusion(TypedDict):
    """An entry of the exclusions file. `written` is true if this call wrote it."""

    file: str
    line: str
    there: bool
    written: bool


def exclusion(config: Config, key: str, repository: str) -> Exclusion:
    """Return the entry for a repository (`owner/name`) with this URL key, and whether one is there already.

    Raises ConfigError if no root is configured.
    """
    # Imported here: importing a client must not import ruamel.yaml, which these modules need.
    from omnicdc.inputs.parts import InputSettings, peoples_files  # noqa: PLC0415

    _, exclusions = peoples_files(InputSettings.of(config))
    there = is_excluded(key, exclusions.read().value)
    return {"file": str(exclusions.path), "line": f"{PREFIX}{repository}", "there": there, "written": False}


def write(path: Path, root: Path, repository: str) -> None:
    """Add a repository to the exclusions file, atomically. Comments and the other entries stay.

    A repeat is harmless. Raises ConfigError if the file does not parse, or could not be kept as it is.
    """
    new = with_entry(path, repository)
    if new is None:
        return
    try:
        replace(root, path.relative_to(root), [new])
    except RegistryError as exc:
        raise ConfigError(exc.message, hint=exc.hint or BY_HAND) from exc


def with_entry(path: Path, repository: str) -> bytes | None:
    """Return the exclusions file with a repository added, or None if it is there already. Write nothing.

    Raises ConfigError if the file does not parse, or could not be kept as it is.
    """
    from omnicdc.inputs.overrides import parse_exclusions  # noqa: PLC0415

    name = repository.lower()
    try:
        old = path.read_bytes() if path.exists() else b""
        before = parse_exclusions(old, str(path))
        if name in before.value:
            return None
        new = _with_entry(old, repository)
        after = parse_exclusions(new, str(path))
    except RegistryError as exc:
        raise ConfigError(exc.message, hint=exc.hint or BY_HAND) from exc
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}", hint=BY_HAND) from exc
    if after.value != before.value | {name} or _comments(new) != _comments(old):
        raise ConfigError(f"{path}: cannot be written without losing what people wrote", hint=BY_HAND)
    return new


def _with_entry(old: bytes, repository: str) -> bytes:
    """Return the file with one more entry."""
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415
    from ruamel.yaml.util import load_yaml_guess_indent  # noqa: PLC0415

    text = old.decode()
    try:
        found, indent, block_indent = load_yaml_guess_indent(text) if text.strip() else ({}, None, None)
    except YAMLError as exc:
        raise ConfigError(f"the exclusions do not parse: {' '.join(str(exc).split())}", hint=BY_HAND) from exc
    top: dict[str, Any] = {} if found is None else found
    if top.get("exclusions") is None:
        top["exclusions"] = []
    top["exclusions"].append({"repo": repository})
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    if indent:
        yaml.indent(mapping=2, sequence=(block_indent or 0) + 2, offset=block_indent or 0)
    written = io.BytesIO()
    yaml.dump(top, written)
    return written.getvalue()


def _comments(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode().splitlines() if line.strip().startswith("#")]

"""Reads the three sources of settings: flags, OMNICDC_* variables, and one YAML file.

Each setting becomes text together with its source. So the module `settings`, which knows the meaning of each
setting, can treat all three sources in the same way, and can name the source of a fault.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omnicdc.config.declared import read_registries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ruamel.yaml.nodes import MappingNode, Node

    from omnicdc.config.declared import Declared

NEWLINE = "\n"
PREFIX = "OMNICDC_"
FILE, ENVIRONMENT, FLAGS = range(3)
"""The kinds of sources. Each takes precedence over the one before it."""

CONFIG = "config"
"""The flag or variable that names the file. It is not a setting, so the file cannot contain it."""


REGISTRIES = "registries"
"""The list of declared registries, which only the file can contain."""


@dataclass(frozen=True, slots=True)
class Given:
    """One setting as it was written, and its source."""

    name: str
    words: tuple[str, ...]
    """The value as text, or the items if it is a list."""
    listed: bool
    """Whether the value was written as a list."""
    where: str
    """The source for messages: the flag, the variable, or the file and the line."""
    base: Path
    """The directory to which a relative path is relative: the file's directory, or the current one."""
    layer: int
    """FILE, ENVIRONMENT or FLAGS."""
    registries: tuple[Declared, ...] = ()
    """What stands below REGISTRIES; then there are no words."""

    def absolute(self, path: Path, home: Path | None) -> Path:
        """Return the absolute path; symlinks are not resolved.

        A leading ~ stands for `home`. Raises ValueError for such a path if `home` is None.
        """
        if path.parts[:1] != ("~",):
            return (self.base / path).absolute()
        if home is None:
            raise ValueError(f"no home directory is known for {path}")
        return home.joinpath(*path.parts[1:])


def command_flag(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def in_order(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    separators: Mapping[str, str],
    faults: list[str],
    *,
    file: Path | None,
    flag_name: Callable[[str], str] = command_flag,
) -> Iterator[Given]:
    """Yield the settings of the file, then of the environment, then of the flags. Later ones take precedence.

    `separators` has a key for each known setting; the value separates the items of a list in a variable.
    `flag_name` returns the name of a flag for messages. A fault is added to `faults` for each unknown
    setting, and for a file that cannot be read.
    """
    from_file = _from_file(file, faults) if file else ()
    yield from (given for given in from_file if given.registries)
    from_file = [given for given in from_file if given.name != REGISTRIES]
    for given in (*from_file, *_from_environ(environ, separators), *_from_flags(flags, flag_name)):
        if given.name in separators:
            yield given
        else:
            guess = _suggestion(given.name, separators)
            faults.append(f"{given.where}: no such setting as {given.name}{guess}")


def _suggestion(name: str, known: Mapping[str, str]) -> str:
    """Return text that suggests a known setting with a similar name; empty text if there is none."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f", did you mean {near[0]}?" if near else ""


def _from_flags(flags: Mapping[str, object], flag_name: Callable[[str], str]) -> Iterator[Given]:
    for name, value in flags.items():
        # click passes None or () for a flag that was not given.
        if name == CONFIG or value is None or value == ():
            continue
        listed = isinstance(value, list | tuple)
        words = tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)
        yield Given(name, words, listed, flag_name(name), Path(), FLAGS)


def _from_environ(environ: Mapping[str, str], separators: Mapping[str, str]) -> Iterator[Given]:
    """Yield the settings of the OMNICDC_* variables.

    Empty variables are skipped. An unknown variable is also skipped, unless its name is similar to that of a
    setting: then it is yielded, and becomes a fault.
    """
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not value or not variable.startswith(PREFIX) or name == CONFIG:
            continue
        if name in separators or _suggestion(name, separators):
            separator = separators.get(name)
            words = tuple(filter(None, map(str.strip, value.split(separator)))) if separator else (value,)
            yield Given(name, words, bool(separator), variable, Path(), ENVIRONMENT)


def _from_file(file: Path, faults: list[str]) -> list[Given]:
    try:
        source = file.read_text("utf-8")
        top = _composed(file, source)
    except OSError as exc:
        faults.append(f"{file}: {exc.strerror} - is the name right (--config, OMNICDC_CONFIG)?")
    except UnicodeDecodeError as exc:
        faults.append(f"{file}:{exc.object.count(NEWLINE.encode(), 0, exc.start) + 1}: not UTF-8")
    except ValueError as exc:
        faults.append(str(exc))
    else:
        return _settings(file, source, top, faults) if top else []
    return []


def unquoted(problem: str) -> str:
    """Remove from a YAML reader's message the text that it quotes from the file.

    The quoted text may be part of a password, or of another file to which a symlink leads.
    """
    return re.sub(r"\b(alias|anchor|handle|directive|tag) .*", r"\1", problem)


def _composed(file: Path, source: str) -> MappingNode | None:
    """Parse the YAML text to nodes, which know their lines. Returns None for an empty file.

    Raises ValueError, which names the file and the line.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - most commands run without a file
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415
    from ruamel.yaml.nodes import MappingNode  # noqa: PLC0415

    try:
        top = YAML(typ="safe", pure=True).compose(source)
    except MarkedYAMLError as exc:
        raise ValueError(f"{file}:{exc.problem_mark.line + 1}: {unquoted(exc.problem)}") from exc
    except YAMLError as exc:
        line = source.count(NEWLINE, 0, getattr(exc, "position", 0)) + 1
        raise ValueError(f"{file}:{line}: a character that YAML does not allow") from exc
    if top is not None and not isinstance(top, MappingNode):
        raise ValueError(f"{file}:{top.start_mark.line + 1}: lines like `name: value` expected")
    return top


def _settings(file: Path, source: str, top: MappingNode, faults: list[str]) -> list[Given]:
    """Return one setting for each key that has a value. A key with null is ignored: the default applies."""
    found: dict[str, Given] = {}
    for key, node in top.value:
        name, where = str(key.value), f"{file}:{key.start_mark.line + 1}"
        if name in found:
            faults.append(f"{where}: {name} is set twice, first at {found[name].where}")
        elif name == REGISTRIES and not node.tag.endswith(":null"):
            registries = read_registries(file, source, node, faults)
            found[name] = Given(name, (), True, where, file.parent, FILE, registries)
        elif not (words := _words(node)):
            faults.append(f"{where}: one value or a plain list expected")
        elif not node.tag.endswith(":null"):
            found[name] = Given(name, words[0], words[1], where, file.parent, FILE)
    return list(found.values())


def _words(node: Node) -> tuple[tuple[str, ...], bool] | None:
    """Return the texts of a value, a list or a mapping, and whether it is a list; None for anything else.

    The texts are as written, without YAML's conversion to numbers, booleans and so on. A mapping is a list of
    `KEY=VALUE`.
    """
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode  # noqa: PLC0415

    if isinstance(node, MappingNode):
        if not all(isinstance(part, ScalarNode) for pair in node.value for part in pair):
            return None
        return tuple(f"{key.value}={value.value}" for key, value in node.value), True
    listed = isinstance(node, SequenceNode)
    items = node.value if listed else [node]
    words = tuple(item.value for item in items if isinstance(item, ScalarNode))
    return (words, listed) if len(words) == len(items) else None

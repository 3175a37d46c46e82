"""Where settings are written: flags, OMNICDC_* variables, one YAML file.

Each is turned into text with its place, so that `settings`, which knows what a setting means, can
read all three alike and name the place of a fault.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ruamel.yaml.nodes import MappingNode, Node

NEWLINE = "\n"
PREFIX = "OMNICDC_"
FILE, ENVIRONMENT, FLAGS = range(3)
"""Where a setting may be written, each with precedence over the one before."""

CONFIG = "config"
"""Names the file, so it has no place in the file itself."""


@dataclass(frozen=True, slots=True)
class Given:
    """One setting as somebody wrote it, and where."""

    name: str
    words: tuple[str, ...]
    listed: bool
    where: str
    base: Path
    """What a relative path is relative to: the file's directory, or the current one."""
    layer: int
    """FILE, ENVIRONMENT or FLAGS."""

    def absolute(self, path: Path, home: Path | None) -> Path:
        """Make a path absolute; its symlinks stay as they were written.

        Raises ValueError for an unknown ~.
        """
        if path.parts[:1] != ("~",):
            return (self.base / path).absolute()
        if home is None:
            raise ValueError(f"no home directory is known for {path}")
        return home.joinpath(*path.parts[1:])


def command_flag(name: str) -> str:
    """Return the command's option for a setting."""
    return f"--{name.replace('_', '-')}"


def in_order(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    separators: Mapping[str, str],
    faults: list[str],
    flag_name: Callable[[str], str] = command_flag,
) -> Iterator[Given]:
    """Yield what the file, the environment and the flags say: a later one wins over an earlier one.

    `flag_name` gives the name under which whoever set a flag knows it. `separators` names the known settings,
    each with what separates its items in a variable. What is unknown or cannot be read is added to `faults`.
    """
    file = flags.get(CONFIG) or environ.get(PREFIX + CONFIG.upper())
    from_file = _from_file(Path(str(file)), faults) if file else ()
    for given in (*from_file, *_from_environ(environ, separators), *_from_flags(flags, flag_name)):
        if given.name in separators:
            yield given
        else:
            faults.append(f"{given.where}: no such setting as {given.name}{_meant(given.name, separators)}")


def _meant(name: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f", did you mean {near[0]}?" if near else ""


def _from_flags(flags: Mapping[str, object], flag_name: Callable[[str], str]) -> Iterator[Given]:
    for name, value in flags.items():
        if name == CONFIG or value is None or value == ():  # click's ways to say "not given"
            continue
        listed = isinstance(value, list | tuple)
        words = tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)
        yield Given(name, words, listed, flag_name(name), Path(), FLAGS)


def _from_environ(environ: Mapping[str, str], separators: Mapping[str, str]) -> Iterator[Given]:
    """Skip what is empty, and what is not ours: of the unknown only a near miss is a fault."""
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not value or not variable.startswith(PREFIX) or name == CONFIG:
            continue
        if name in separators or _meant(name, separators):
            separator = separators.get(name)
            words = tuple(filter(None, map(str.strip, value.split(separator)))) if separator else (value,)
            yield Given(name, words, bool(separator), variable, Path(), ENVIRONMENT)


def _from_file(file: Path, faults: list[str]) -> list[Given]:
    try:
        top = _composed(file, file.read_text("utf-8"))
    except OSError as exc:
        faults.append(f"{file}: {exc.strerror} - name the file with --config FILE or OMNICDC_CONFIG")
    except UnicodeDecodeError as exc:
        faults.append(f"{file}:{exc.object.count(NEWLINE.encode(), 0, exc.start) + 1}: not UTF-8")
    except ValueError as exc:
        faults.append(str(exc))
    else:
        return _settings(file, top, faults) if top else []
    return []


def unquoted(problem: str) -> str:
    """Leave out what a YAML reader quotes of the file.

    A piece of a password, or of a file that somebody linked to.
    """
    return re.sub(r"\b(alias|anchor|handle|directive|tag) .*", r"\1", problem)


def _composed(file: Path, source: str) -> MappingNode | None:
    """Parse as far as nodes, which still know their lines; None for an empty file."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - most starts have no file to parse
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


def _settings(file: Path, top: MappingNode, faults: list[str]) -> list[Given]:
    """One for each key that has a value; null, as an absent key, means the default."""
    found: dict[str, Given] = {}
    for key, node in top.value:
        name, where = str(key.value), f"{file}:{key.start_mark.line + 1}"
        if name in found:
            faults.append(f"{where}: {name} is set twice, first at {found[name].where}")
        elif not (words := _words(node)):
            faults.append(f"{where}: one value or a plain list expected")
        elif not node.tag.endswith(":null"):
            found[name] = Given(name, words[0], words[1], where, file.parent, FILE)
    return list(found.values())


def _words(node: Node) -> tuple[tuple[str, ...], bool] | None:
    """Take what was written, as text whatever YAML makes of it, and whether it is a list."""
    from ruamel.yaml.nodes import ScalarNode, SequenceNode  # noqa: PLC0415

    listed = isinstance(node, SequenceNode)
    items = node.value if listed else [node]
    words = tuple(item.value for item in items if isinstance(item, ScalarNode))
    return (words, listed) if len(words) == len(items) else None

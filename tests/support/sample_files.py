"""Registry files as the daemon writes them, from invented rows, without a database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st

from omnicdc.model import Inputs, Override
from omnicdc.registries.projection import Projection
from omnicdc.registries.scanners import scanners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnicdc.registries.scanners import Row

STAMP = "2026-11-22T20:59:55.573397+00:00"
SCANNERS = [name for name, it in scanners().items() if it.source == "projects"]
IDS = [f"6f1c9a52-0000-4000-8000-{number:012}" for number in range(12)]
HOSTILE = [
    'a"b', "- uuid: " + IDS[1], f'\n    "{IDS[1]}": {{\n', f'\n    }},\n    "{IDS[1]}": {{',
    "\n    },\n    {\n", f'"uuid": "{IDS[1]}"', IDS[1], "\n- uuid: x\n", "  name: x", "é\u2028\x85", "🚀",
    "null", "no", "[]", "{}", "1", "", " ", "#", "'", "\\", "\\n", "\t", "x: y", "- x", "\x7f", "\ufeff",
    "---\n", "...\n", "true",
]  # fmt: skip

text = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
urls = st.sampled_from([None, "", "https://gitlab.com/acme/lab"]) | st.builds(
    "https://github.com/acme/{}".format, st.sampled_from(["rocket", "Rocket", "é", 'a"b', "lab.git"])
)
rows = st.fixed_dictionaries(
    {
        "name": text,
        "key": st.none() | text,
        "type": st.none() | text,
        "status": st.none() | text,
        "url": urls,
        "domain": st.none() | text,
    }
)
INPUTS = Inputs(
    overrides={
        "https://github.com/acme/rocket": Override(("/a b", "/c: d"), "a\nnote", "no"),
        "https://gitlab.com/acme/lab": Override(("/",), IDS[1], None),
    },
    heart={"/": 3},
    repositories={
        "https://github.com/acme/lab": {
            "name": "lab", "url": "https://github.com/Acme/lab", "stars": [1, {"a": "\n    },\n"}],
            "uuid": "x",
        },
        "https://github.com/acme/alone": {
            "name": IDS[1], "url": "https://github.com/acme/alone", "description": IDS[1],
        },
    },
)  # fmt: skip


def cmp_rows(name: str, projects: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows that the query of the scanner would return."""
    columns = {
        "cmp_projects": ("name", "type", "key", "url", "domain", "status"),
        "project": ("name", "key", "type", "status", "url", "domain"),
        "git": ("name", "url"),
    }[name]
    return [(project, *(row[column] for column in columns)) for project, row in projects.items()]


def registry_of(name: str, projects: Mapping[str, Mapping[str, Any]], inputs: Inputs = INPUTS) -> Projection:
    registry = Projection(scanners()[name], inputs)
    registry.rebuild(cmp_rows(name, projects))
    return registry


def written(registry: Projection) -> bytes:
    document = registry.document
    return b"".join(document.parts(registry.scanner.frame(len(document), document.counters, STAMP)))


def entries_of(registry: Projection) -> dict[str, bytes]:
    """Return the entries of each entry key as the document has them, in the order of the file."""
    document, data = registry.document, written(registry)
    found = {entry_key: document.get(entry_key) or b"" for entry_key in document.entry_keys()}
    return dict(sorted(found.items(), key=lambda pair: data.index(pair[1].removesuffix(b",\n"))))


def read_back(name: str, data: bytes) -> list[dict[str, Any]]:
    """Parse a file, and return its entries."""
    if name == "project":
        return list(yaml.load(data, yaml.CSafeLoader)["projects"])
    parsed = json.loads(data)
    return parsed if isinstance(parsed, list) else [*parsed["uuids"].values()]


def project(name: str = "Rocket", **fields: object) -> dict[str, Any]:
    default = {"name": name, "key": None, "type": "SERVICE", "status": "active", "domain": None}
    return default | {"url": f"https://github.com/acme/{name.lower()}"} | fields

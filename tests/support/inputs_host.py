"""The sources of the inputs on a host: people's files, a workspace with clones, the inventory, and `gh`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from omnicdc.inputs.parts import InputSettings
from omnicdc.inputs.store import InputStore

if TYPE_CHECKING:
    from pathlib import Path

ROCKET = "https://github.com/acme/rocket"
LISTING = [{"name": "rocket", "url": ROCKET, "visibility": "PUBLIC"}]


class InputsHost:
    """The directories of a host, with functions that write the sources of the inputs."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "infra"
        self.projects = self.root / "governance/registry/projects"
        self.projects.mkdir(parents=True)
        self.settings = InputSettings(self.root, (base / "ws",), base / "var/lib/omnicdc", ("acme",), gh=True)
        (base / "ws").mkdir()

    @property
    def state(self) -> Path:
        return self.settings.state_dir

    def store(self) -> InputStore:
        store = InputStore(self.settings)
        store.load()
        return store

    def exclude(self, text: str) -> None:
        (self.projects / "EXCLUSION_LIST_V1.yaml").write_text(text)

    def override(self, text: str) -> None:
        (self.projects / "LOCAL_OVERRIDES_V1.yaml").write_text(text)

    def inventory(self, *elements: object) -> None:
        file = self.root / "governance/registry/git_repos/repo_inventory.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(elements))

    def clone(self, name: str) -> str:
        path = self.base / "ws" / name
        (path / ".git").mkdir(parents=True)
        (path / ".git/config").write_text(f'[remote "origin"]\n\turl = {ROCKET}\n')
        return str(path)

    def gh(self, script: str) -> None:
        program = self.base / "bin/gh"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

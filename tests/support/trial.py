"""A host in its trial: Omni's scanners have written the registries, and omnicdc publishes into a shadow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from support.host import INVENTORY, PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from support.cmp import Cmp
    from support.host import Host


def begin_trial(cmp: Cmp, host: Host) -> Path:
    """Write registries as Omni does, start a daemon with a shadow, and return the shadow."""
    cmp.upsert("garden", github_url="https://github.com/acme/garden", domain="garden.example")
    cmp.upsert("library", github_url="https://github.com/acme/library")
    host.once()
    write_as_omni(host.root)
    for path in host.state.rglob("*"):
        if path.is_file():
            path.unlink()
    shadow = host.root.with_name("shadow")
    shadow.mkdir()
    file = host.root.with_name("omnicdc.yaml")
    file.write_text(f"# of the registry host\nroot: {host.root}\nshadow: {shadow}\npoll_s: 1\n")
    del host.env["OMNICDC_ROOT"]
    host.env["OMNICDC_CONFIG"] = str(file)
    host.daemon()
    return shadow


def write_as_omni(root: Path) -> None:
    """Rewrite the registries below a root in the form of Omni's scanners."""
    projects = yaml.safe_load((root / PROJECT).read_text())
    for entry in projects["projects"]:
        del entry["domain"]
        if entry["display_name"] == "garden":
            entry["visibility"] = "PRIVATE"  # as the inventory below has it
    (root / PROJECT).write_text(yaml.safe_dump(projects, sort_keys=False))
    elements = json.loads((root / INVENTORY).read_text())
    kept = [{k: v for k, v in it.items() if k not in ("uuid", "source")} for it in elements[:1]]
    kept[0]["visibility"] = "PRIVATE"
    (root / INVENTORY).write_text(json.dumps(kept, indent=4))
    for name in ("omnicdc_manifest.json", ".omnicdc_announced.json", ".omnicdc.lock"):
        (root / "governance/registry" / name).unlink(missing_ok=True)


def as_omni_left_it(path: Path) -> tuple[int, int, int, int]:
    """Return owner, group, mode and time of a file."""
    found = path.stat()
    return found.st_uid, found.st_gid, found.st_mode, found.st_mtime_ns
